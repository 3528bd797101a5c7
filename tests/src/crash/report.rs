//! Reading a report (RFC 3464) far enough to tell whom it is about.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use anyhow::{Context as _, Result, ensure};

use crate::generator;
use crate::ledger::{Recipient, Report};
use crate::sink::Transaction;

/// What the report says; an error when it is none, or is not to the sender of the message that it is about.
pub(super) fn read(transaction: &Transaction) -> Result<Report> {
    let [to] = transaction.recipients.as_slice() else {
        anyhow::bail!("a report to {:?}", transaction.recipients);
    };
    let number = generator::sender(to).with_context(|| format!("a report to {to}, who sent nothing"))?;
    let id = transaction.header("Message-ID").context("a report without Message-ID")?;
    let kind = transaction.header("Content-Type").unwrap_or_default();
    ensure!(kind.to_ascii_lowercase().contains("report-type=delivery-status"), "{id}: {kind}");
    let text = String::from_utf8_lossy(&transaction.content);
    let failed = failed(&text).with_context(|| id.clone())?;
    ensure!(!failed.is_empty(), "{id} says of nobody that delivery failed");
    for recipient in &failed {
        ensure!(recipient.message == number, "{id} to the sender of {number} is about {}", recipient.message);
    }
    let digest = BuildHasherDefault::<DefaultHasher>::default().hash_one(body(&text));
    Ok(Report { id, failed, digest })
}

/// Without the fields that were put in front on the way.
fn body(text: &str) -> &str {
    text.find("\r\n\r\n").map_or(text, |end| &text[end..])
}

/// The recipients with `Action: failed` in the part message/delivery-status.
fn failed(text: &str) -> Result<Vec<Recipient>> {
    let status = text.find("Content-Type: message/delivery-status").context("no message/delivery-status")?;
    let start = text[status..].find("\r\n\r\n").context("no end of the part's header")?;
    let rest = &text[status + start + 4..];
    let part = rest.find("\r\n--").map_or(rest, |end| &rest[..end + 2]);
    let mut failed = Vec::new();
    for group in part.split("\r\n\r\n") {
        let field = |name: &str| {
            let line = group.lines().find(|line| line.get(..name.len()).is_some_and(|s| s.eq_ignore_ascii_case(name)));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
        };
        let Some(address) = field("Final-Recipient:") else { continue };
        let address = address.split_once(';').map_or(address, |(_, address)| address.trim());
        let recipient = generator::recipient(address).with_context(|| format!("it is about {address}"))?;
        if field("Action:").is_some_and(|action| action.eq_ignore_ascii_case("failed")) {
            failed.push(recipient);
        }
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Received: from x\r\nFrom: <>\r\nMessage-ID: <a@sluice.test>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/report;\r\n report-type=delivery-status; boundary=\"b\"\r\n\r\n--b\r\n\r\nSorry.\r\n\
        --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; sluice.test\r\n\r\n\
        Final-Recipient: rfc822; r0.7@d1.ledger.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n\
        Final-Recipient: rfc822;r1.7@d1.ledger.test\r\nAction: delayed\r\nStatus: 4.1.1\r\n\r\n\
        Final-recipient: rfc822;r2.7@d1.ledger.test\r\nStatus: 5.1.1\r\nAction: Failed\r\n\r\n\
        --b\r\nContent-Type: text/rfc822-headers\r\n\r\nX-Ledger: 7\r\n\r\n--b--\r\n";

    fn transaction(to: &str, content: &str) -> Transaction {
        Transaction {
            at: crate::wait::now(),
            connection: 0,
            sequence: 0,
            mail: "<>".to_owned(),
            recipients: vec![to.to_owned()],
            content: content.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_report_tells_whom_it_is_about() {
        let report = read(&transaction("s7@ledger.test", REPORT)).unwrap();
        assert_eq!(report.id, "<a@sluice.test>");
        assert_eq!(report.failed, [Recipient { message: 7, index: 0 }, Recipient { message: 7, index: 2 }]);
        let again = read(&transaction("s7@ledger.test", &REPORT.replace("from x", "from y"))).unwrap();
        assert_eq!(again, report, "where it came through says nothing");
        let other = read(&transaction("s7@ledger.test", &REPORT.replace("Sorry", "sorry"))).unwrap();
        assert_ne!(other.digest, report.digest);
    }

    #[test]
    fn what_is_no_report_or_another_senders_is_refused() {
        for (to, content) in [
            ("s8@ledger.test", REPORT.to_owned()),
            ("nobody@ledger.test", REPORT.to_owned()),
            ("s7@ledger.test", REPORT.replace("Message-ID", "X-ID")),
            ("s7@ledger.test", REPORT.replace("delivery-status", "text")),
            ("s7@ledger.test", REPORT.replace("Action: ", "Deed: ")),
            ("s7@ledger.test", REPORT.replace("r0.7@", "someone@")),
        ] {
            assert!(read(&transaction(to, &content)).is_err(), "{to}\n{content}");
        }
    }
}
