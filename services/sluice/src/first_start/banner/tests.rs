use super::*;

const LISTENERS: [Listener; 2] = [
    Listener { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2587), tls: ListenerTls::StartTls },
    Listener { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 2465), tls: ListenerTls::Implicit },
];

fn facts<'a>(accounts: &'a Accounts, listeners: &'a [Listener]) -> Facts<'a> {
    Facts {
        program: "sluice",
        config: Path::new("sluice.toml"),
        data_dir: Path::new("sluice-data"),
        listeners,
        admin: "127.0.0.1:9925".parse().unwrap(),
        sandbox: None,
        accounts,
    }
}

fn made() -> Accounts {
    Accounts::DemoMade("s3cr3tS3cr3tS3cr3t".into())
}

fn line<'a>(text: &'a str, program: &str) -> &'a str {
    text.lines().map(str::trim_start).find(|line| line.starts_with(program)).unwrap()
}

#[test]
fn the_first_start_tells_everything() {
    let text = banner(&Facts { sandbox: "127.0.0.1:8025".parse().ok(), ..facts(&made(), &LISTENERS) });
    let expected = "\
Sluice is running.

  configuration  sluice.toml
  data           sluice-data
  submission     127.0.0.1:2587 (STARTTLS)
  submission     0.0.0.0:2465 (TLS)
  metrics        http://127.0.0.1:9925/metrics
  sandbox        http://127.0.0.1:8025/  (no mail leaves this machine)

An account was made. Its password is shown this once:

  user           demo
  password       s3cr3tS3cr3tS3cr3t

Send a first mail, with the one or the other:

  swaks --server 127.0.0.1:2587 --tls --auth PLAIN --auth-user demo --auth-password s3cr3tS3cr3tS3cr3t --from hello@sluice.example --to you@example.com --header 'Subject: Hello'

  curl --ssl-reqd --insecure --url 'smtp://127.0.0.1:2587' --user 'demo:s3cr3tS3cr3tS3cr3t' --mail-from hello@sluice.example --mail-rcpt you@example.com -H 'From: hello@sluice.example' -H 'To: you@example.com' -H 'Subject: Hello' -F '=Hello from Sluice'

It appears at http://127.0.0.1:8025/ at once.
The answer 250 names the mail's queue id. Where it stands, and why:

  sluice queue show ID
";
    assert_eq!(text, expected);
}

#[test]
fn without_the_sandbox_it_warns_that_mail_is_real() {
    let text = banner(&facts(&made(), &LISTENERS));
    assert!(text.contains("goes out to the real recipient") && !text.contains("8025"), "{text}");
}

#[test]
fn the_lines_fit_the_listener() {
    let implicit = banner(&facts(&made(), &LISTENERS[1..]));
    assert!(line(&implicit, "swaks ").starts_with("swaks --server 127.0.0.1:2465 --tls-on-connect "), "{implicit}");
    assert!(line(&implicit, "curl ").contains("--url 'smtps://127.0.0.1:2465'"), "{implicit}");
    let six = Listener { address: "[::]:2587".parse().unwrap(), tls: ListenerTls::StartTls };
    let text = banner(&facts(&made(), &[six]));
    assert!(line(&text, "swaks ").contains(" [::1]:2587 "), "{text}");
    let none = Listener { address: "127.0.0.1:25".parse().unwrap(), tls: ListenerTls::None };
    let text = banner(&facts(&made(), &[none]));
    assert!(text.contains("s3cr3t") && !text.contains("swaks "), "no line that would not work: {text}");
}

#[test]
fn later_starts_say_how_to_go_on() {
    for (accounts, words) in [
        (Accounts::Demo, "for a new password: sluice account set-password demo"),
        (Accounts::Others, "sluice account list"),
        (Accounts::Nobody, "sluice account add NAME --domain DOMAIN"),
    ] {
        let text = banner(&facts(&accounts, &LISTENERS));
        assert!(text.contains(words) && !text.contains("swaks "), "{text}");
    }
}

#[test]
fn commands_are_called_as_this_program_was() {
    let text = banner(&Facts {
        program: "/opt/my tools/sluice",
        config: Path::new("/etc/sluice/sluice.toml"),
        ..facts(&Accounts::Others, &LISTENERS)
    });
    assert!(text.contains("'/opt/my tools/sluice' --config /etc/sluice/sluice.toml account list"), "{text}");
    assert_eq!(quoted("it's"), r"'it'\''s'");
}
