//! `sluice dkim`: the keys that sign mail, and their records in the DNS.

mod check;
mod generate;
mod show;
mod when;

use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use sluice_mail::Domain;
use sluice_proto::control as api;
use sluice_registry::DkimName;

use super::client::{self, PAGE, answer};
use super::{CliError, Terminal};
use generate::GenerateArgs;
use when::When;

/// What is to be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key, or take one in, and say what to publish
    #[command(after_help = generate::EXAMPLES)]
    Generate(Box<GenerateArgs>),
    /// Show all keys, one in a line
    List(ListArgs),
    /// Print the records to publish
    Dns(DnsArgs),
    /// Ask the DNS for the records, and say what is wrong with them
    ///
    /// Looks at the keys that sign or are going to; ends with 1 when a key that signs, or the one that is named, does
    /// not verify.
    Check(CheckArgs),
    /// Let a key sign no more; its record must stay for some days, for mail that is on its way
    Retire(RetireArgs),
    /// Take a key away for good
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DnsArgs {
    /// Domain, or SELECTOR._domainkey.DOMAIN [default: all keys that are not retired]
    what: Option<Which>,
    /// How records are written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Zone)]
    format: Format,
}

/// How records are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Lines of a zone file
    Zone,
    /// Name, then the strings of the TXT record, in quotes
    Strings,
    /// Name, then the text as a whole
    Text,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Domain, or SELECTOR._domainkey.DOMAIN [default: all keys that are not retired]
    what: Option<Which>,
}

#[derive(Debug, Args)]
pub(crate) struct RetireArgs {
    /// SELECTOR._domainkey.DOMAIN
    #[arg(value_parser = name)]
    name: DkimName,
    /// When it ends to sign: a time such as 2026-12-01T08:00:00Z, or from now on such as 7d [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<When>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// SELECTOR._domainkey.DOMAIN
    #[arg(value_parser = name)]
    name: DkimName,
    /// Also when it signs
    #[arg(long)]
    force: bool,
}

/// The keys that a command is about.
#[derive(Clone, Debug)]
enum Which {
    Domain(Domain),
    Key(DkimName),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("._domainkey.") {
            return name(text).map(Self::Key);
        }
        Domain::parse(text)
            .map(Self::Domain)
            .map_err(|e| format!("expected a domain or SELECTOR._domainkey.DOMAIN: {e}"))
    }
}

fn name(text: &str) -> Result<DkimName, String> {
    let parsed = DkimName::parse(text.strip_suffix('.').unwrap_or(text));
    parsed.ok_or_else(|| "expected SELECTOR._domainkey.DOMAIN, as `sluice dkim list` shows it".to_owned())
}

/// Does `command` on the server at `socket`; the DNS is asked at `name_servers`, or the system's if there are none.
pub(super) async fn run(
    command: Command,
    name_servers: &[SocketAddr],
    socket: &Path,
    terminal: &mut Terminal<'_>,
) -> Result<(), CliError> {
    match command {
        Command::Generate(args) => generate::generate(*args, socket, terminal).await,
        Command::List(args) => list(&args, socket, terminal).await,
        Command::Dns(args) => dns(&args, socket, terminal).await,
        Command::Check(args) => check::check(args.what.as_ref(), name_servers, socket, terminal).await,
        Command::Retire(args) => retire(&args, socket, terminal).await,
        Command::Delete(args) => delete(&args, socket, terminal).await,
    }
}

async fn list(args: &ListArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let keys = all(socket, "").await?;
    if args.json {
        let values: Vec<Value> = keys.iter().map(show::to_json).collect();
        writeln!(terminal.stdout, "{}", Value::from(values))?;
    } else if keys.is_empty() {
        writeln!(terminal.stdout, "There is no key. Make one with `sluice dkim generate DOMAIN`.")?;
    } else {
        show::table(&keys, terminal.now).write(terminal.stdout)?;
    }
    Ok(())
}

async fn dns(args: &DnsArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    for key in chosen(args.what.as_ref(), socket).await? {
        let (name, record) = (id(&key), &key.record);
        match args.format {
            Format::Zone => writeln!(terminal.stdout, "{}", sluice_sign::dns::zone_line_of(name, record))?,
            Format::Text => writeln!(terminal.stdout, "{name}\n{record}\n")?,
            Format::Strings => {
                writeln!(terminal.stdout, "{name}")?;
                for piece in sluice_sign::dns::split(record) {
                    writeln!(terminal.stdout, "\"{piece}\"")?;
                }
                writeln!(terminal.stdout)?;
            }
        }
    }
    Ok(())
}

async fn retire(args: &RetireArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let at_ms = args.at.map(|at| at.from(terminal.now).0);
    let request = api::RetireDkimKeyRequest { name: resource(&args.name), at_ms };
    let key = answer(client::dkim_keys(socket).await?.retire_dkim_key(request)).await?;
    // The server's clock decides, not this program's, which began before.
    let when = match key.until_ms.map(sluice_mail::UnixMs).filter(|_| key.state != "retired") {
        Some(until) => format!("signs until {} ({})", show::moment(until), super::format::until(until, terminal.now)),
        None => "signs no more".to_owned(),
    };
    writeln!(terminal.stdout, "Key {} {when}.", args.name)?;
    let words = "Leave its record in the DNS for 7 days after that, as mail signed by it may still be on its way.";
    Ok(writeln!(terminal.stdout, "{words}")?)
}

async fn delete(args: &DeleteArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let request = api::DeleteDkimKeyRequest { name: resource(&args.name), force: args.force };
    answer(client::dkim_keys(socket).await?.delete_dkim_key(request)).await?;
    Ok(writeln!(terminal.stdout, "Key {} is deleted.", args.name)?)
}

/// The keys that are meant: one by its name, or those that sign or are going to.
async fn chosen(which: Option<&Which>, socket: &Path) -> Result<Vec<api::DkimKey>, CliError> {
    let domain = match which {
        Some(Which::Key(name)) => {
            let request = api::GetDkimKeyRequest { name: resource(name) };
            return Ok(vec![answer(client::dkim_keys(socket).await?.get_dkim_key(request)).await?]);
        }
        Some(Which::Domain(domain)) => domain.as_str(),
        None => "",
    };
    let mut keys = all(socket, domain).await?;
    keys.retain(|key| matches!(key.state.as_str(), "signs" | "not yet"));
    if keys.is_empty() {
        let of = if domain.is_empty() { String::new() } else { format!(" of {domain}") };
        return Err(CliError::NoKey(of));
    }
    Ok(keys)
}

/// Every key, of `domain` if it is not empty, page by page.
async fn all(socket: &Path, domain: &str) -> Result<Vec<api::DkimKey>, CliError> {
    let mut client = client::dkim_keys(socket).await?;
    let mut keys = Vec::new();
    let mut page_token = String::new();
    loop {
        let page_size = i32::try_from(PAGE).unwrap_or(i32::MAX);
        let request = api::ListDkimKeysRequest { domain: domain.to_owned(), page_size, page_token };
        let page = answer(client.list_dkim_keys(request)).await?;
        keys.extend(page.dkim_keys);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(keys);
        }
    }
}

fn resource(name: &DkimName) -> String {
    format!("dkimKeys/{name}")
}

/// The name of the key's record.
fn id(key: &api::DkimKey) -> &str {
    key.name.strip_prefix("dkimKeys/").unwrap_or(&key.name)
}
