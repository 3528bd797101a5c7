//! Bounds, time-outs and the end of the process.

use std::time::Duration;

use super::*;

#[test]
fn too_many_recipients_get_452_and_the_message_goes_to_the_others() {
    let mut config = trusted();
    config.limits.max_recipients = 2;
    check(
        &config,
        "C: HELO me
         S: 250 mx.test
         C: MAIL FROM:<>
         E: mail <>
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<a@a.test>
         E: rcpt <a@a.test>
         S: 250 2.1.5 Recipient accepted
         C: RCPT TO:<bad@a.test>
         E: rcpt <bad@a.test>
         S: 550 5.1.1 Unknown
         C: RCPT TO:<b@a.test>
         E: rcpt <b@a.test>
         S: 250 2.1.5 Recipient accepted
         C: RCPT TO:<c@a.test>
         S: 452 4.5.3 Too many recipients; send this message to the others afterwards
         C: DATA
         S: 354 Send the message; end it with <CRLF>.<CRLF>
         C: .
         E: message SMTP to a@a.test,b@a.test: 
         S: 250 2.0.0 Message accepted",
    );
}

#[test]
fn a_thousand_recipients_in_one_flight() {
    let mut text = String::from("EHLO me\r\nMAIL FROM:<>\r\n");
    for i in 0..1_001 {
        text += &format!("RCPT TO:<u{i}@a.test>\r\n");
    }
    text += "DATA\r\n";
    let mut host = Host::new(&trusted());
    host.send(text.as_bytes());
    host.send(b".\r\n");
    let replies = |line: &str| host.log.iter().filter(|l| l.as_str() == line).count();
    assert_eq!(replies("S: 250 2.1.5 Recipient accepted"), 1_000);
    assert_eq!(replies("S: 452 4.5.3 Too many recipients; send this message to the others afterwards"), 1);
    assert_eq!(host.messages[0].recipients.len(), 1_000);
}

#[test]
fn too_many_bad_commands_end_the_session() {
    let mut config = trusted();
    config.limits.max_bad_commands = 2;
    check(
        &config,
        "C: FOO
         S: 500 5.5.1 Unknown command; HELP lists the known ones
         C: NOOP
         S: 250 2.0.0 OK, still here
         C: DATA
         S: 503 5.5.1 Say MAIL first
         C: FOO
         S: 421 4.7.0 mx.test Too many bad commands; closing the connection
         E: close bad_commands
         C: NOOP",
    );
}

#[test]
fn a_client_without_the_right_to_send_has_a_hundred_commands() {
    let count = |config: &SessionConfig| {
        let mut host = Host::new(config);
        host.send(&b"NOOP\r\n".repeat(200));
        (host.log.iter().filter(|l| *l == "S: 250 2.0.0 OK, still here").count(), host.log.last().unwrap().clone())
    };
    assert_eq!(count(&SessionConfig::new("mx.test")), (100, "E: close commands".to_owned()));
    assert_eq!(count(&trusted()).0, 200);
}

#[test]
fn too_many_commands_end_the_session_unless_messages_come() {
    let mut config = trusted();
    config.limits.max_commands = 4;
    let message = "C: MAIL FROM:<>
         E: mail <>
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<a@a.test>
         E: rcpt <a@a.test>
         S: 250 2.1.5 Recipient accepted
         C: RCPT TO:<b@a.test>
         E: rcpt <b@a.test>
         S: 250 2.1.5 Recipient accepted
         C: DATA
         S: 354 Send the message; end it with <CRLF>.<CRLF>
         C: .
         E: message SMTP to a@a.test,b@a.test: 
         S: 250 2.0.0 Message accepted
         ";
    let noops = "C: NOOP
         S: 250 2.0.0 OK, still here
         "
    .repeat(4);
    let hello = "C: HELO me
         S: 250 mx.test
         ";
    let end = "C: NOOP
         S: 421 4.7.0 mx.test Too many commands without a message; closing the connection
         E: close commands";
    check(&config, &format!("{hello}{message}{message}{noops}{end}"));
    check(&config, &format!("{noops}C: QUIT\nS: 221 2.0.0 mx.test closing the connection\nE: close quit"));
}

#[test]
fn silence_ends_the_session_and_an_unfinished_line_is_silence() {
    let mut host = Host::new(&trusted());
    let start = host.now;
    assert_eq!(host.session.poll_timeout(), Some(start + Duration::from_secs(300)));
    host.now = start + Duration::from_secs(200);
    host.send(b"NOO");
    assert_eq!(host.session.poll_timeout(), Some(start + Duration::from_secs(300)));
    host.send(b"P\r\n");
    assert_eq!(host.session.poll_timeout(), Some(start + Duration::from_secs(500)));
    host.session.handle_timeout(start + Duration::from_secs(499));
    host.serve();
    assert_eq!(host.log.len(), 2);
    host.session.handle_timeout(start + Duration::from_secs(500));
    host.serve();
    let expect = ["S: 421 4.4.2 mx.test Nothing was heard for too long; closing the connection", "E: close timeout"];
    assert_eq!(host.log[2..], expect);
    assert_eq!(host.session.poll_timeout(), None);
}

#[test]
fn content_has_time_limits_of_its_own() {
    let mut host = Host::new(&trusted());
    let start = host.now;
    host.send(b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@a.test>\r\nDATA\r\n");
    assert_eq!(host.session.poll_timeout(), Some(start + Duration::from_secs(180)));
    host.now = start + Duration::from_secs(3_500);
    host.send(b"x");
    assert!(host.session.is_receiving() && host.session.buffered() == 1);
    assert_eq!(host.session.poll_timeout(), Some(start + Duration::from_secs(3_600)));
    host.session.handle_timeout(start + Duration::from_secs(3_600));
    host.serve();
    assert_eq!(host.log.last().unwrap(), "E: close timeout");
    assert!(!host.session.is_receiving() && host.session.buffered() == 0);
}

const STOPPED: [&str; 2] =
    ["S: 421 4.3.2 mx.test This server is being stopped; try again; closing the connection", "E: close shutdown"];

#[test]
fn an_ending_process_closes_idle_sessions_at_once() {
    let mut host = Host::new(&trusted());
    host.send(b"EHLO me\r\nMA");
    let seen = host.log.len();
    host.session.handle_shutdown(host.now);
    host.serve();
    host.send(b"IL FROM:<>\r\n");
    assert_eq!(host.log[seen..], STOPPED);
}

#[test]
fn an_ending_process_lets_a_begun_message_finish() {
    let mut host = Host::new(&trusted());
    host.send(b"HELO me\r\nMAIL FROM:<>\r\n");
    host.session.handle_shutdown(host.now);
    host.serve();
    host.send(b"RCPT TO:<a@a.test>\r\nDATA\r\nx\r\n");
    host.session.handle_shutdown(host.now);
    let seen = host.log.len();
    host.send(b".\r\nMAIL FROM:<>\r\n");
    let expect = ["E: message SMTP to a@a.test: x\\r\\n", "S: 250 2.0.0 Message accepted", STOPPED[0], STOPPED[1]];
    assert_eq!(host.log[seen..], expect);
}

#[test]
fn an_ending_process_closes_after_a_dropped_or_refused_message() {
    for (more, reply) in [
        ("RSET\r\n", "S: 250 2.0.0 Ready for the next message"),
        (
            "RCPT TO:<a@a.test>\r\nDATA\r\na\nb\r\n.\r\n",
            "E: refused 554 5.6.0 Refused for a bare LF in line 1; lines end with CRLF",
        ),
    ] {
        let mut host = Host::new(&trusted());
        host.send(b"HELO me\r\nMAIL FROM:<>\r\n");
        host.session.handle_shutdown(host.now);
        host.send(more.as_bytes());
        let log = host.log[host.log.len() - 3..].to_vec();
        assert!(log.contains(&reply.to_owned()) && log[2] == STOPPED[1], "{log:?}");
    }
}
