//! What a start says to whoever watches it: where things are and how to send a first mail.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use sluice_ingress::ListenerTls;

use super::{Accounts, DEMO, DEMO_DOMAIN};
use crate::cli::DEFAULT_CONFIG;

/// A recipient whose domain takes no mail (RFC 2606): the newcomer puts another one in its place.
const RECIPIENT: &str = "you@example.com";

/// What there is to say.
pub(crate) struct Facts<'a> {
    /// How this program was called: the first argument of the process.
    pub(crate) program: &'a str,
    /// The configuration file.
    pub(crate) config: &'a Path,
    /// The data folder.
    pub(crate) data_dir: &'a Path,
    /// Where mail is taken, with the ports that were really opened.
    pub(crate) listeners: &'a [Listener],
    /// Where metrics and health are.
    pub(crate) admin: SocketAddr,
    /// Where the sandbox's page is.
    pub(crate) sandbox: Option<SocketAddr>,
    /// Who may send.
    pub(crate) accounts: &'a Accounts,
}

/// One place where mail is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) tls: ListenerTls,
}

/// The text for standard output, once the listeners are up. A password that was made now is in it, this once.
pub(crate) fn banner(facts: &Facts<'_>) -> String {
    let mut out = String::from("Sluice is running.\n\n");
    for (name, value) in places(facts) {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "  {name:<14} {value}");
    }
    out.push('\n');
    match facts.accounts {
        Accounts::DemoMade(password) => first_mail(facts, password, &mut out),
        Accounts::Demo => {
            let _ = writeln!(
                out,
                "Account {DEMO} may send; for a new password: {} account set-password {DEMO}",
                sluice(facts)
            );
        }
        Accounts::Others => {
            let _ = writeln!(out, "Who may send: {} account list", sluice(facts));
        }
        Accounts::Nobody => {
            let _ = writeln!(
                out,
                "Nobody may send yet. Make an account: {} account add NAME --domain DOMAIN",
                sluice(facts)
            );
        }
    }
    out
}

fn places(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let mut places =
        vec![("configuration", facts.config.display().to_string()), ("data", facts.data_dir.display().to_string())];
    places.extend(facts.listeners.iter().map(|l| {
        let how = match l.tls {
            ListenerTls::StartTls => "STARTTLS",
            ListenerTls::Implicit => "TLS",
            ListenerTls::None => "no TLS",
        };
        ("submission", format!("{} ({how})", l.address))
    }));
    places.push(("metrics", format!("http://{}/metrics", reachable(facts.admin))));
    if let Some(page) = facts.sandbox {
        places.push(("sandbox", format!("http://{}/  (no mail leaves this machine)", reachable(page))));
    }
    places
}

fn first_mail(facts: &Facts<'_>, password: &str, out: &mut String) {
    let _ = writeln!(out, "An account was made. Its password is shown this once:\n");
    let _ = writeln!(out, "  user           {DEMO}\n  password       {password}\n");
    let Some(listener) = [ListenerTls::StartTls, ListenerTls::Implicit]
        .iter()
        .find_map(|tls| facts.listeners.iter().find(|l| l.tls == *tls))
    else {
        return;
    };
    let _ = writeln!(out, "Send a first mail, with the one or the other:\n");
    let _ = writeln!(out, "  {}\n\n  {}\n", swaks(listener, password), curl(listener, password));
    match facts.sandbox {
        Some(page) => {
            let _ = writeln!(out, "It appears at http://{}/ at once.", reachable(page));
        }
        None => {
            let _ = writeln!(
                out,
                "It goes out to the real recipient: put an address of yours in place of {RECIPIENT}, or send nothing to\n\
                 the network with --sandbox. From a domain of yours: {} account add NAME --domain DOMAIN",
                sluice(facts)
            );
        }
    }
    let _ = writeln!(out, "The answer 250 names the mail's queue id. Where it stands, and why:\n");
    let _ = writeln!(out, "  {} queue show ID", sluice(facts));
}

fn swaks(listener: &Listener, password: &str) -> String {
    let tls = if listener.tls == ListenerTls::Implicit { "--tls-on-connect" } else { "--tls" };
    format!(
        "swaks --server {} {tls} --auth PLAIN --auth-user {DEMO} --auth-password {password} \
         --from hello@{DEMO_DOMAIN} --to {RECIPIENT} --header 'Subject: Hello'",
        reachable(listener.address)
    )
}

/// One line that any shell understands: curl builds the message from `-H` and `-F`, with the line ends that SMTP wants.
fn curl(listener: &Listener, password: &str) -> String {
    let scheme = if listener.tls == ListenerTls::Implicit { "smtps" } else { "smtp" };
    let from = format!("hello@{DEMO_DOMAIN}");
    format!(
        "curl --ssl-reqd --insecure --url '{scheme}://{}' --user '{DEMO}:{password}' --mail-from {from} \
         --mail-rcpt {RECIPIENT} -H 'From: {from}' -H 'To: {RECIPIENT}' -H 'Subject: Hello' -F '=Hello from Sluice'",
        reachable(listener.address)
    )
}

/// How to call this program again, for this configuration.
fn sluice(facts: &Facts<'_>) -> String {
    let program = quoted(facts.program);
    if facts.config == Path::new(DEFAULT_CONFIG) {
        return program;
    }
    format!("{program} --config {}", quoted(&facts.config.to_string_lossy()))
}

/// A listener on all addresses is reached at the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// `text` as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
