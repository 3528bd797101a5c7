//! Greeting, order of commands, and the small verbs.

use super::*;

#[test]
fn greets_with_name_and_software() {
    assert_eq!(Host::new(&trusted()).log, ["S: 220 mx.test ESMTP Sluice"]);
}

#[test]
fn a_refused_session_says_why_and_closes() {
    let reply = Reply::new(421, EnhancedCode(4, 7, 0), "Too many sessions");
    let mut session = Session::refused(Arc::new(trusted()), &reply);
    assert_eq!(session.poll_output().unwrap(), &b"421 4.7.0 Too many sessions\r\n"[..]);
    assert!(matches!(session.poll_event(), Some(Event::Close(CloseReason::Refused))));
    let mut input = BytesMut::from(&b"EHLO x\r\n"[..]);
    session.handle_input(base(), &mut input);
    assert!(input.is_empty() && session.poll_output().is_none() && session.poll_event().is_none());
}

#[test]
fn a_whole_session_pipelined() {
    check(
        &trusted(),
        "C: EHLO client.test
         S: 250-mx.test
         S: 250-PIPELINING
         S: 250-SIZE 26214400
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250 ENHANCEDSTATUSCODES
         C: MAIL FROM:<a@a.test>
         E: mail <a@a.test>
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<b@b.test>
         E: rcpt <b@b.test>
         S: 250 2.1.5 Recipient accepted
         C: RCPT TO:<bad@b.test>
         E: rcpt <bad@b.test>
         S: 550 5.1.1 Unknown
         C: DATA
         S: 354 Send the message; end it with <CRLF>.<CRLF>
         C: Subject: hi
         C: 
         C: ..dot
         C: .
         E: message ESMTP to b@b.test: Subject: hi\\r\\n\\r\\n.dot\\r\\n
         S: 250 2.0.0 Message accepted
         C: MAIL FROM:<> SIZE=1
         E: mail <> SIZE=1
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<c@c.test>
         E: rcpt <c@c.test>
         S: 250 2.1.5 Recipient accepted
         C: DATA
         S: 354 Send the message; end it with <CRLF>.<CRLF>
         C: REFUSE
         C: .
         E: message ESMTP to c@c.test: REFUSE\\r\\n
         S: 550 5.7.1 No
         C: MAIL FROM:<d@d.test>
         E: mail <d@d.test>
         S: 250 2.1.0 Sender accepted
         C: QUIT
         S: 221 2.0.0 mx.test closing the connection
         E: close quit",
    );
}

#[test]
fn commands_out_of_order_are_told_what_comes_first() {
    check(
        &trusted(),
        "C: MAIL FROM:<a@a.test>
         S: 503 5.5.1 Say EHLO first
         C: RCPT TO:<a@a.test>
         S: 503 5.5.1 Say MAIL first
         C: DATA
         S: 503 5.5.1 Say MAIL first
         C: HELO me
         S: 250 mx.test
         C: MAIL FROM:<a@a.test>
         E: mail <a@a.test>
         S: 250 2.1.0 Sender accepted
         C: MAIL FROM:<a@a.test>
         S: 503 5.5.1 A message is already begun; RSET drops it
         C: DATA
         S: 503 5.5.1 Say RCPT first
         C: RCPT TO:<bad@a.test>
         E: rcpt <bad@a.test>
         S: 550 5.1.1 Unknown
         C: DATA
         S: 554 5.5.1 No valid recipients
         C: RCPT TO:<a@a.test>
         E: rcpt <a@a.test>
         S: 250 2.1.5 Recipient accepted
         C: DATA now
         S: 501 5.5.4 DATA takes no argument
         C: HELO me
         S: 250 mx.test
         C: DATA
         S: 503 5.5.1 Say MAIL first
         C: MAIL FROM:<a@a.test>
         E: mail <a@a.test>
         S: 250 2.1.0 Sender accepted
         C: RSET
         S: 250 2.0.0 Ready for the next message
         C: RCPT TO:<a@a.test>
         S: 503 5.5.1 Say MAIL first",
    );
}

#[test]
fn the_small_verbs() {
    check(
        &trusted(),
        "C: NOOP
         S: 250 2.0.0 OK, still here
         C: noop whatever it be
         S: 250 2.0.0 OK, still here
         C: vRfY <a@a.test>
         S: 252 2.0.0 Addresses are not verified here; send a message and see
         C: VRFY
         S: 501 5.5.4 Say VRFY with an address
         C: EXPN list
         S: 502 5.5.1 There are no mailing lists here
         C: HELP
         S: 214-2.0.0 EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT
         S: 214 2.0.0 To send: EHLO, STARTTLS, EHLO, AUTH, MAIL FROM:<>, RCPT TO:<>, DATA
         C: BDAT 10 LAST
         S: 502 5.5.1 This command is not implemented
         C: XYZZY
         S: 500 5.5.1 Unknown command; HELP lists the known ones
         C: SOMETHINGLONG x
         S: 500 5.5.1 Unknown command; HELP lists the known ones
         C: 
         S: 500 5.5.1 Unknown command; HELP lists the known ones
         C: EHLO
         S: 501 5.5.4 Say EHLO with your name, as in: EHLO mail.example.org
         C: EHLO a b
         S: 501 5.5.4 Say EHLO with your name, as in: EHLO mail.example.org
         C: HELO
         S: 501 5.5.4 Say HELO with your name, as in: HELO mail.example.org
         C: RSET x
         S: 501 5.5.4 RSET takes no argument
         C: RSET  \\t
         S: 250 2.0.0 Ready for the next message
         C: QUIT now
         S: 501 5.5.4 QUIT takes no argument
         C: quit 
         S: 221 2.0.0 mx.test closing the connection
         E: close quit
         C: NOOP",
    );
}

#[test]
fn lines_must_be_whole_and_clean() {
    check(
        &trusted(),
        "C| NOOP\\n
         S: 500 5.5.2 Lines end with CRLF, this one with a bare LF
         C| NO\\rOP\\r\\n
         S: 500 5.5.2 The line holds a control character
         C| NOOP\\0\\r\\n
         S: 500 5.5.2 The line holds a control character
         C| NOOP \\xff\\r\\n
         S: 500 5.5.2 The line is not valid UTF-8
         C: NOOP
         S: 250 2.0.0 OK, still here
         C: GET / HTTP/1.1
         S: 421 4.7.0 mx.test This port speaks SMTP only; closing the connection
         E: close not_smtp
         C: Host: mx.test",
    );
}

#[test]
fn a_question_is_asked_once_and_commands_wait_for_its_answer() {
    let mut session = Session::new(Arc::new(trusted()), base());
    let mut input = BytesMut::from(&b"EHLO x\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n"[..]);
    session.handle_input(base(), &mut input);
    assert!(matches!(session.poll_event(), Some(Event::Mail(_))));
    assert!(session.poll_event().is_none());
    assert!(!session.wants_input() && session.poll_timeout().is_none());
    session.handle_input(base(), &mut input);
    assert_eq!(&input[..], b"RCPT TO:<b@b.test>\r\n");
    // An answer to something else changes nothing.
    session.handle_auth(base(), AuthAnswer::Accepted);
    session.handle_tls(base());
    session.handle_answer(base(), Answer::Accept);
    session.handle_answer(base(), Answer::Accept);
    session.handle_input(base(), &mut input);
    assert!(input.is_empty() && matches!(session.poll_event(), Some(Event::Recipient(_))));
    let output = session.poll_output().unwrap();
    assert!(output.ends_with(b"250 2.1.0 Sender accepted\r\n"), "{output:?}");
}
