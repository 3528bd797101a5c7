//! The clients that people have: swaks, curl and Python's smtplib.

use std::process::Command;

use anyhow::{Result, ensure};
use sluice_tests::process::{self, Finished};

use crate::TestResult;
use crate::fixture::{ALICE, FROM, PASSWORD, Scene};

fn swaks(scene: &Scene, port: u16, more: &[&str]) -> Result<Finished> {
    let mut command = Command::new("swaks");
    command.args(["--server", "127.0.0.1", "--port", &port.to_string(), "--ehlo", "client.test"]);
    command.args(["--from", FROM, "--to", "bob@example.net", "--header", "Subject: from swaks"]);
    command.args(more).current_dir(scene.sluice.dir());
    process::run(&mut command, b"")
}

#[test]
fn swaks_with_each_kind_of_tls_and_log_in() -> TestResult {
    let scene = Scene::new()?;
    let ports = scene.sluice.ports;
    let cases: [(u16, &[&str]); 4] = [
        (ports.submission.port(), &["--tls", "--auth", "PLAIN"]),
        (ports.submission.port(), &["--tls", "--auth", "LOGIN"]),
        (ports.submissions.port(), &["--tls-on-connect", "--auth", "PLAIN"]),
        (ports.submissions.port(), &["--tls-on-connect", "--auth", "LOGIN"]),
    ];
    for (port, more) in cases {
        let more = [more, &["--auth-user", ALICE, "--auth-password", PASSWORD]].concat();
        swaks(&scene, port, &more)?.success()?;
    }
    swaks(&scene, ports.trusted.port(), &["--from", "x@ledger.test", "--header", "From: x@ledger.test"])?.success()?;
    for taken in scene.mailbox.wait_for(5)? {
        ensure!(taken.header("subject").as_deref() == Some("from swaks"), "{taken:?}");
    }
    let refused = swaks(&scene, ports.submission.port(), &["--tls", "--auth-user", ALICE, "--auth-password", "wrong"])?;
    ensure!(refused.code == 28 && refused.stdout.contains("535 5.7.8"), "{refused:?}");
    let refused = swaks(&scene, ports.submission.port(), &[])?;
    ensure!(refused.code != 0 && refused.stdout.contains("530 5.7.0"), "{refused:?}");
    Ok(())
}

#[test]
fn curl_with_each_kind_of_tls() -> TestResult {
    let scene = Scene::new()?;
    let (ports, pem) = (scene.sluice.ports, scene.sluice.certificate.certificate.display().to_string());
    let message =
        format!("From: {FROM}\r\nTo: bob@example.net\r\nSubject: from curl\r\n\r\n.\r\n..\r\nGr\u{fc}\u{df}e\r\n");
    let (starttls, implicit) = (ports.submission.port(), ports.submissions.port());
    for (scheme, port, login) in
        [("smtp", starttls, "AUTH=PLAIN"), ("smtp", starttls, "AUTH=LOGIN"), ("smtps", implicit, "AUTH=PLAIN")]
    {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--ssl-reqd", "--cacert", &pem, "--login-options", login]);
        command.args([
            "--resolve",
            &format!("sluice.test:{port}:127.0.0.1"),
            &format!("{scheme}://sluice.test:{port}"),
        ]);
        command.args(["--mail-from", FROM, "--mail-rcpt", "bob@example.net", "--user", &format!("{ALICE}:{PASSWORD}")]);
        command.args(["--upload-file", "-"]);
        process::run(&mut command, message.as_bytes())?.success()?;
    }
    for taken in scene.mailbox.wait_for(3)? {
        ensure!(taken.content.ends_with(message.as_bytes()), "{}", String::from_utf8_lossy(&taken.content));
    }
    Ok(())
}

/// Speaks with both ports, sends to several recipients at once, some of whom are elsewhere, and SMTPUTF8.
const SMTPLIB: &str = r#"
import smtplib, ssl, sys
from email.message import EmailMessage
from email.policy import SMTPUTF8
starttls, implicit, pem, login, password = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
context = ssl.create_default_context(cafile=pem)
context.check_hostname = False

def message(subject):
    m = EmailMessage(policy=SMTPUTF8)
    m["From"] = "alice@example.org"
    m["To"] = "bob@example.net"
    m["Subject"] = subject
    m.set_content("Grüße\n.\n..two dots\n\nend\n", cte="8bit")
    return m

with smtplib.SMTP("127.0.0.1", starttls) as server:
    server.starttls(context=context)
    server.login(login, password)
    refused = server.send_message(message("über STARTTLS"), to_addrs=["bob@example.net", "carol@example.com", "dåve@example.net"], mail_options=["SMTPUTF8"])
    assert refused == {}, refused
    try:
        server.sendmail("mallory@example.com", ["bob@example.net"], "From: mallory@example.com\r\n\r\nx\r\n")
        sys.exit("mallory was let in")
    except smtplib.SMTPSenderRefused as e:
        assert e.smtp_code == 553 and e.smtp_error.startswith(b"5.7.1"), e
    server.send_message(message("again"))

with smtplib.SMTP_SSL("127.0.0.1", implicit, context=context) as server:
    server.login(login, password)
    server.send_message(message("implicit"))
    assert server.verify("bob")[0] == 252
    assert server.noop()[0] == 250

try:
    with smtplib.SMTP_SSL("127.0.0.1", implicit, context=context) as server:
        server.login(login, "wrong")
    sys.exit("a wrong password was taken")
except smtplib.SMTPAuthenticationError as e:
    assert e.smtp_code == 535, e
"#;

#[test]
fn pythons_smtplib() -> TestResult {
    let scene = Scene::new()?;
    let (ports, pem) = (scene.sluice.ports, &scene.sluice.certificate.certificate);
    let mut command = Command::new("python3");
    command.args(["-c", SMTPLIB, &ports.submission.port().to_string(), &ports.submissions.port().to_string()]);
    command.arg(pem).args([ALICE, PASSWORD]);
    process::run(&mut command, b"")?.success()?;
    let taken = scene.mailbox.wait_for(4)?;
    let recipients: Vec<_> = taken.iter().flat_map(|t| t.recipients.iter().cloned()).collect();
    ensure!(recipients.len() == 5 && recipients.contains(&"d\u{e5}ve@example.net".to_owned()), "{recipients:?}");
    for transaction in taken {
        let text = String::from_utf8_lossy(&transaction.content).into_owned();
        ensure!(text.ends_with("\r\nGrüße\r\n.\r\n..two dots\r\n\r\nend\r\n"), "{text}");
    }
    Ok(())
}
