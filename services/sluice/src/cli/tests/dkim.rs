//! `sluice dkim` against the control service.

use super::*;

const KEY: &str = "s1._domainkey.shop.example";

/// What a key pair of openssl looks like; nobody uses it.
fn pem() -> String {
    let (domain, selector) = (sluice_mail::Domain::parse("a.example").unwrap(), "s".parse().unwrap());
    sluice_sign::Key::generate(domain, selector, sluice_sign::Algorithm::Ed25519, 0).unwrap().pem
}

#[tokio::test]
async fn a_key_is_made_shown_rotated_retired_and_deleted() {
    let server = Server::start().await;
    let none = server.ask("dkim list").await.unwrap();
    assert!(none.contains("sluice dkim generate DOMAIN"), "{none}");
    let no_key = server.ask("dkim dns shop.example").await.unwrap_err();
    assert_eq!((no_key.exit_code().code(), no_key.to_string().contains("no key of shop.example")), (65, true));

    let made = server.ask("dkim generate shop.example --selector s1 --algorithm ed25519").await.unwrap();
    for words in [KEY, "ed25519 of 256 bits", "It signs from now on", "IN TXT ( \"v=DKIM1; k=ed25519; p=", "dkim check"]
    {
        assert!(made.contains(words), "{words} in {made}");
    }
    let next = server.ask("dkim generate shop.example --algorithm ed25519").await.unwrap();
    let takes_over = format!("It takes over from {KEY} at ");
    assert!(next.contains(&takes_over) && next.contains("(in 1 d)"), "{next}");
    let selector = next.split(['.', ' ']).find(|word| word.starts_with("s20")).unwrap().to_owned();
    assert!(selector.len() == 8 && selector.ends_with('a'), "{selector}");

    let listed = server.ask("dkim list").await.unwrap();
    let states: Vec<_> = listed.lines().skip(1).map(|line| line.contains("not yet")).collect();
    assert_eq!(states, [false, true], "{listed}");
    let json: serde_json::Value = serde_json::from_str(&server.ask("dkim list --json").await.unwrap()).unwrap();
    assert_eq!((&json[0]["name"], &json[0]["state"]), (&KEY.into(), &"signs".into()));

    let zone = server.ask(&format!("dkim dns {KEY}.")).await.unwrap();
    assert!(made.contains(zone.trim()) && zone.starts_with(&format!("{KEY}. 3600 IN TXT ( ")), "{zone}");
    let text = server.ask(&format!("dkim dns {KEY} --format text")).await.unwrap();
    assert_eq!(text, format!("{KEY}\n{}\n\n", json[0]["record"].as_str().unwrap()));
    assert_eq!(server.ask("dkim dns shop.example").await.unwrap().lines().count(), 2);

    let refused = server.ask(&format!("dkim delete {KEY}")).await.unwrap_err();
    assert!(refused.to_string().contains("still signs") && refused.exit_code().code() == 65, "{refused}");
    let later = server.ask(&format!("dkim retire {KEY} --at 2d")).await.unwrap();
    assert!(later.contains("signs until") && later.contains("(in 2 d)"), "{later}");
    let now = server.ask(&format!("dkim retire {KEY}")).await.unwrap();
    assert!(now.contains("signs no more") && now.contains("7 days"), "{now}");
    assert_eq!(server.ask("dkim dns").await.unwrap().lines().count(), 1, "retired ones are not to be published");
    server.ask(&format!("dkim delete {KEY}")).await.unwrap();
    let gone = server.ask(&format!("dkim retire {KEY}")).await.unwrap_err();
    assert_eq!(gone.to_string(), format!("there is no key {KEY}"));
}

#[tokio::test]
async fn long_records_are_split_into_strings() {
    let server = Server::start().await;
    server.ask("dkim generate shop.example --selector s1").await.unwrap();
    let strings = server.ask(&format!("dkim dns {KEY} --format strings")).await.unwrap();
    let pieces: Vec<_> = strings.lines().skip(1).filter(|line| !line.is_empty()).collect();
    assert!(pieces.len() == 2 && pieces.iter().all(|piece| piece.len() <= 257), "{strings}");
    let joined: String = pieces.iter().map(|piece| piece.trim_matches('"')).collect();
    assert!(server.ask(&format!("dkim dns {KEY} --format text")).await.unwrap().contains(&joined));
}

#[tokio::test]
async fn a_key_is_taken_from_a_file_and_shown_to_nobody() {
    let server = Server::start().await;
    let path = server.folder.path().join("key.pem");
    let pem = pem();
    std::fs::write(&path, &pem).unwrap();
    let line = format!("dkim generate shop.example --selector s1 --import {}", path.display());
    let mut said = server.ask(&line).await.unwrap();
    assert!(said.contains("ed25519 of 256 bits"), "{said}");
    for line in ["dkim list", "dkim list --json", "dkim dns", "dkim dns --format text"] {
        said.push_str(&server.ask(line).await.unwrap());
    }
    said.push_str(&server.ask(&line).await.unwrap_err().to_string());
    assert!(!said.contains(&pem.lines().nth(1).unwrap()[30..]), "{said}");
    for (content, words) in [("", "is empty"), ("nonsense", "private_key: expected a private key in PEM form")] {
        std::fs::write(&path, content).unwrap();
        let error = server.ask(&line.replace("s1", "s2")).await.unwrap_err();
        assert!(error.to_string().contains(words) && error.exit_code().code() == 65, "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = server.ask(&line).await.unwrap_err().to_string();
    assert!(error.contains("key.pem cannot be read: "), "{error}");
}

/// A name server that fails at every question.
async fn failing_dns() -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut packet).await {
            // A response: SERVFAIL.
            (packet[2], packet[3]) = (packet[2] | 0x80, 2);
            let _ = socket.send_to(&packet[..len], from).await;
        }
    });
    address
}

#[tokio::test]
async fn a_check_without_an_answer_of_the_dns_fails_for_keys_that_sign_or_are_named() {
    let server = Server::start().await;
    let dns = failing_dns().await;
    let check = async |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let Command::Dkim(command) = cli(&words).unwrap().command else { panic!("{line}") };
        let (mut stdin, mut stdout) = (&b""[..], Vec::new());
        let mut terminal = Terminal { stdin: &mut stdin, stdout: &mut stdout, now: SystemClock.wall() };
        let socket = server.folder.path().join("control.sock");
        let done = ask(Question::Dkim(command, vec![dns]), &socket, &mut terminal).await;
        (done.map_err(|e| (e.to_string(), e.exit_code().code())), String::from_utf8(stdout).unwrap())
    };
    server.ask("dkim generate shop.example --selector s1 --algorithm ed25519").await.unwrap();
    server.ask("dkim generate other.example --selector s1 --algorithm ed25519 --from 7d").await.unwrap();
    let (done, said) = check("dkim check").await;
    assert_eq!(done, Err(("1 of 1 keys cannot be verified by receivers".to_owned(), 1)));
    assert!(said.contains(&format!("UNKNOWN  {KEY}\n")) && said.contains("other.example (not yet)"), "{said}");
    assert_eq!(check("dkim check other.example").await.0, Ok(()));
    assert!(check("dkim check s1._domainkey.other.example").await.0.is_err());
}
