//! DATA and what may come after it.

use super::*;

const BEGIN: &str = "C: HELO me
    S: 250 mx.test
    C: MAIL FROM:<>
    E: mail <>
    S: 250 2.1.0 Sender accepted
    C: RCPT TO:<a@a.test>
    E: rcpt <a@a.test>
    S: 250 2.1.5 Recipient accepted
    C: DATA
    S: 354 Send the message; end it with <CRLF>.<CRLF>
    ";

#[track_caller]
fn check_content(config: &SessionConfig, rest: &str) {
    check(config, &format!("{BEGIN}{rest}\nC: NOOP\nS: 250 2.0.0 OK, still here"));
}

#[test]
fn dots_are_unstuffed_and_only_the_true_end_ends() {
    check_content(
        &trusted(),
        "C: .. 
         C: ...x
         C: .x
         C: a.
         C: 
         C: ..
         C: .
         E: message SMTP to a@a.test: . \\r\\n..x\\r\\nx\\r\\na.\\r\\n\\r\\n.\\r\\n
         S: 250 2.0.0 Message accepted",
    );
    check_content(
        &trusted(),
        "C: .
         E: message SMTP to a@a.test: 
         S: 250 2.0.0 Message accepted",
    );
}

/// What another server might take for the end, with a smuggled message behind it, is refused as a whole.
#[test]
fn no_message_can_be_smuggled_in_another() {
    for (fake_end, defect) in [
        ("\\n.\\n", "bare LF in line 1"),
        ("\\n.\\r\\n", "bare LF in line 1"),
        ("\\r\\n.\\n", "bare LF in line 2"),
        ("\\r.\\r", "bare CR in line 1"),
        ("\\r.\\r\\n", "bare CR in line 1"),
        ("\\r\\n.\\r", "bare CR in line 2"),
        ("\\r\\n.\\r\\r\\n", "bare CR in line 2"),
        ("\\r\\n\\r.\\r\\n", "bare CR in line 2"),
        ("\\r\\n.\\0\\r\\n.\\n\\r\\n", "bare LF in line 3"),
        ("\\r\\r\\n.\\r\\r\\n", "bare CR in line 1"),
        ("\\n\\n.\\r\\n", "bare LF in line 1"),
    ] {
        check_content(
            &trusted(),
            &format!(
                "C| a{fake_end}
                 C: MAIL FROM:<evil@a.test>
                 C: RCPT TO:<b@a.test>
                 C: DATA
                 C: smuggled
                 C: .
                 S: 554 5.6.0 Refused for a {defect}; lines end with CRLF
                 E: refused 554 5.6.0 Refused for a {defect}; lines end with CRLF
                 C: RCPT TO:<a@a.test>
                 S: 503 5.5.1 Say MAIL first"
            ),
        );
    }
}

#[test]
fn the_size_limit_counts_octets_without_stuffing_and_end() {
    let mut config = trusted();
    config.limits.max_message_size = 8;
    check_content(
        &config,
        "C: ..2345
         C: .
         E: message SMTP to a@a.test: .2345\\r\\n
         S: 250 2.0.0 Message accepted",
    );
    check_content(
        &config,
        "C: 123456
         C: .
         E: message SMTP to a@a.test: 123456\\r\\n
         S: 250 2.0.0 Message accepted",
    );
    let refused = "S: 552 5.3.4 The message is over the limit of 8 octets
         E: refused 552 5.3.4 The message is over the limit of 8 octets";
    for content in ["C: 1234567", "C: 1234\nC: 5", "C| 1234567890\\n\\r\\n", "C| 12345678\\rx\\r\\n"] {
        check_content(&config, &format!("{content}\nC: .\n{refused}"));
    }
}

#[test]
fn the_host_can_refuse_content_while_it_comes() {
    let mut host = Host::new(&trusted());
    host.session.refuse_content(Reply::new(452, EnhancedCode(4, 3, 1), "Full"));
    host.send(b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@a.test>\r\nDATA\r\nSubject: x\r\n");
    assert_eq!(host.session.buffered(), 12);
    host.session.refuse_content(Reply::new(452, EnhancedCode(4, 3, 1), "Full"));
    assert_eq!(host.session.buffered(), 0);
    host.send(b"a\nb\r\n.\r\nMAIL FROM:<>\r\n");
    let expect = ["S: 452 4.3.1 Full", "E: refused 452 4.3.1 Full", "E: mail <>", "S: 250 2.1.0 Sender accepted"];
    assert_eq!(host.log[host.log.len() - 4..], expect);
}

#[test]
fn refused_content_without_end_ends_the_session() {
    let mut config = trusted();
    config.limits.max_message_size = 10;
    let mut host = Host::new(&config);
    host.send(b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@a.test>\r\nDATA\r\n");
    let chunk = vec![b'x'; 1 << 20];
    let chunks = (1..1_000).find(|_| {
        host.send(&chunk);
        !host.session.is_receiving()
    });
    assert!(chunks.is_some_and(|n| n < 100), "{chunks:?}");
    assert_eq!(host.log.last().unwrap(), "E: close endless_content");
}
