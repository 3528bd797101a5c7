//! What becomes of a letter: seen in the peers' mailboxes, in `sluice queue show` and in the sender's mailbox.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::case::{Account, Case, Expect, HOME, Peer, To};
use super::world::{BEHIND, World};
use super::zones;
use crate::aiosmtpd::Taken;
use crate::mailbox::{Letter, Status};
use crate::smtp::Client;
use crate::wait;

/// Longer than anything in the world takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(75);

/// A letter that Sluice took.
#[derive(Clone, Debug)]
pub(super) struct Submitted {
    pub(super) queue_id: String,
    /// Of the case: it is in addresses, and a word in it is no reason.
    pub(super) name: &'static str,
}

/// A copy of a letter where it arrived.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    /// The peer, or the host of the zones.
    pub(super) place: String,
    pub(super) recipients: Vec<String>,
    /// Lines with LF, from the X-Case field on.
    pub(super) rest: Vec<u8>,
    /// Whether the peer said that it has it.
    pub(super) answered: bool,
    pub(super) tls: Option<bool>,
}

impl World {
    /// Hands the letter of `case` to Sluice.
    pub(super) fn submit(&self, case: &Case) -> Result<Submitted> {
        let to: Vec<_> = case.to.iter().map(|to| case.address(to)).collect();
        let to: Vec<_> = to.iter().map(String::as_str).collect();
        self.submit_to(case, &to)
    }

    /// [`Self::submit`] to somebody else.
    pub(super) fn submit_to(&self, case: &Case, to: &[&str]) -> Result<Submitted> {
        self.submit_from(&case.reverse_path(), case, to)
    }

    /// [`Self::submit_to`] from somebody else.
    pub(super) fn submit_from(&self, from: &str, case: &Case, to: &[&str]) -> Result<Submitted> {
        let mut client = Client::open(self.listener(case.account)?)?;
        let reply = client.submit(from, to, &case.content())?.expect("250 2.0.0")?;
        let queue_id = queue_id(&reply.text()).context("no queue id")?;
        Ok(Submitted { queue_id, name: case.name })
    }

    /// Waits until `to` has become what is expected; what was seen.
    pub(super) fn observe(&self, case: &Case, letter: &Submitted, to: &To) -> Result<String> {
        let address = case.address(to);
        match &to.expect {
            Expect::Delivered => self.delivered(case, letter, &address, None),
            Expect::DeliveredAt(host) => self.delivered(case, letter, &address, Some(host)),
            Expect::Deferred(words) => {
                let reason = self.waits(letter, words)?;
                self.heal(case)?;
                Ok(format!("deferred ({reason}), then {}", self.delivered(case, letter, &address, None)?))
            }
            Expect::Retried(words) => {
                let reason = self.waits(letter, words)?;
                self.heal(case)?;
                self.cli(&["queue", "retry", &letter.queue_id])?.success()?;
                Ok(format!("deferred ({reason}), then {}", self.delivered(case, letter, &address, None)?))
            }
            Expect::Expired(words) => {
                let reason = self.waits(letter, words)?;
                let report = self.returned(case, letter, &address, ("5.4.7", words))?;
                Ok(format!("deferred ({reason}), then {report}"))
            }
            Expect::Returned(status, words) => self.returned(case, letter, &address, (status, words)),
            Expect::Dropped(words) => self.dropped(letter, words),
        }
    }

    /// Waits for the letter in the peer's mailbox, octet for octet.
    fn delivered(&self, case: &Case, letter: &Submitted, address: &str, at: Option<&str>) -> Result<String> {
        let sent = below_header(&case.content()).context("no X-Case")?;
        let mut altered = None;
        let found = wait::until(PATIENCE, &format!("the letter to {address}"), || {
            let mut copies = self.copies(case)?;
            copies.retain(|copy| copy.answered && copy.recipients.iter().any(|recipient| recipient == address));
            // A file may still grow.
            let (whole, rest): (Vec<_>, Vec<_>) =
                copies.into_iter().partition(|copy| trimmed(&copy.rest) == trimmed(&sent));
            altered = rest.into_iter().next();
            if whole.is_empty() && altered.is_none() {
                self.has_not_ended(letter, address, "delivered")?;
            }
            Ok(whole.into_iter().next())
        });
        let copy = found.with_context(|| match &altered {
            Some(copy) => format!("altered: {}", first_difference(&sent, &copy.rest)),
            None => "not delivered".to_owned(),
        })?;
        if let (Some(expected), Some(tls)) = (case.tls, copy.tls) {
            ensure!(expected == tls, "delivered {}", if tls { "under TLS" } else { "in the clear" });
        }
        ensure!(at.is_none_or(|at| at == copy.place), "delivered at {}", copy.place);
        let at = at.map(|host| format!(" at {host}")).unwrap_or_default();
        let tls = if case.tls.is_none() {
            ""
        } else if copy.tls == Some(true) {
            " under TLS"
        } else {
            " in the clear"
        };
        Ok(format!("delivered{at}{tls}"))
    }

    /// Waits until `queue show` says that the letter waits, for a reason with these words; the reason.
    pub(super) fn waits(&self, letter: &Submitted, words: &[&str]) -> Result<String> {
        let mut last = String::new();
        let found = wait::until(PATIENCE, &format!("{words:?} in queue show"), || {
            if self.listing()?.get(&letter.queue_id).is_some_and(Option::is_none) {
                // It was not tried yet.
                return Ok(None);
            }
            last = self.cli(&["queue", "show", &letter.queue_id])?.success()?.stdout;
            let stands = last.lines().nth(1).unwrap_or_default().trim();
            let waits = ["waiting", "ready", "being delivered"].iter().any(|start| stands.starts_with(start));
            if !waits {
                bail!("it does not wait: {stands}");
            }
            let plain = last.replace(letter.name, "…");
            Ok(plain.lines().find(|line| has_all(line, words)).map(reason_of))
        });
        found.with_context(|| last.trim().to_owned())
    }

    /// Waits for the report in the sender's mailbox.
    fn returned(&self, case: &Case, of: &Submitted, address: &str, expected: (&str, &[&str])) -> Result<String> {
        let (status, words) = expected;
        let (letter, said) = wait::until(PATIENCE, &format!("the report about {address}"), || {
            for letter in self.reports(case)? {
                if let Some(said) = letter.statuses().into_iter().find(|said| said.recipient == address) {
                    return Ok(Some((letter, said)));
                }
            }
            std::thread::sleep(Duration::from_millis(250));
            self.has_not_ended(of, address, "bounced")?;
            Ok(None)
        })?;
        good_report(case, &letter)?;
        if case.account == Account::Full {
            let sent = below_header(&case.content()).context("no X-Case")?;
            let mails = self.home.mailbox_of(&case.mailbox())?;
            ensure!(mails.iter().any(|mail| has(mail, trimmed(&sent))), "what was sent is not in it, octet for octet");
        }
        let Status { action, status: told, diagnostic, remote, .. } = &said;
        ensure!(action == "failed" && told == status, "{action} {told}: {diagnostic}");
        ensure!(has_all(diagnostic, words), "{told}: {diagnostic}");
        ensure!(letter.text().contains(address), "no {address} in the text for people:\n{}", letter.text());
        let remote = if remote.is_empty() { String::new() } else { format!(" from {remote}") };
        Ok(format!("returned {told} ({diagnostic}{remote})"))
    }

    /// An error when `address` has ended, and not like this: what it is waited for will not come.
    fn has_not_ended(&self, letter: &Submitted, address: &str, expected: &str) -> Result<()> {
        if self.listing()?.contains_key(&letter.queue_id) {
            return Ok(());
        }
        let shown = self.cli(&["queue", "show", &letter.queue_id])?.success()?.stdout;
        let other = if expected == "delivered" { ["bounced", "expired"] } else { ["delivered", "cancelled"] };
        let line = shown.lines().map(str::trim).find(|line| line.starts_with(&format!("recipient {address}: ")));
        let state = line.and_then(|line| line.split_once(&format!("{address}: "))).map_or("", |(_, state)| state);
        ensure!(!other.iter().any(|word| state.starts_with(word)), "{state}");
        Ok(())
    }

    /// Waits until it has ended, not delivered, for a reason with these words.
    fn dropped(&self, letter: &Submitted, words: &[&str]) -> Result<String> {
        let mut last = String::new();
        let found = wait::until(PATIENCE, "its end", || {
            if self.listing()?.contains_key(&letter.queue_id) {
                return Ok(None);
            }
            last = self.cli(&["queue", "show", &letter.queue_id])?.success()?.stdout;
            let stands = last.lines().nth(1).unwrap_or_default().trim();
            let ended = stands.starts_with("bounced") || stands.starts_with("given up");
            Ok(ended.then(|| stands.to_owned()))
        });
        let stands = found.with_context(|| last.trim().to_owned())?;
        ensure!(has_all(&last, words), "{last}");
        Ok(format!("dropped ({})", reason_of(&stands)))
    }

    /// The reports in the sender's mailbox.
    pub(super) fn reports(&self, case: &Case) -> Result<Vec<Letter>> {
        self.home.mailbox_of(&case.mailbox())?.iter().map(|mail| Letter::read(mail)).collect()
    }

    /// Makes the peer well.
    fn heal(&self, case: &Case) -> Result<()> {
        match (&case.peer, &self.toxiproxy) {
            (Peer::Toxiproxy(_), Some(toxiproxy)) => toxiproxy.heal(case.name),
            (Peer::Aiosmtpd(..), _) => self.peers.heal(case.name),
            (other, _) => bail!("{} cannot become well: {}", case.name, other.name()),
        }
    }

    /// The copies of this case's letter at its peer.
    pub(super) fn copies(&self, case: &Case) -> Result<Vec<Copy>> {
        let mut copies = Vec::new();
        match &case.peer {
            Peer::Zone(_) => {
                for place in zones::HOSTS {
                    self.add_taken(place, &mut copies)?;
                }
            }
            Peer::Aiosmtpd(..) | Peer::Starttls(..) | Peer::Toxiproxy(_) => self.add_taken(case.name, &mut copies)?,
            Peer::SmartHost(_) => {
                for Taken { recipients, content, answered, .. } in self.peers.taken(BEHIND)? {
                    let tls = has(&content, b"with ESMTPSA");
                    let copy = copy(BEHIND, &content, recipients);
                    copies.extend(copy.map(|copy| Copy { tls: Some(tls), answered, ..copy }));
                }
            }
            Peer::SmtpSink(_) => {
                let sink = self.sinks.get(case.name).context("no sink")?;
                for text in sink.taken()? {
                    let args = text.lines().filter_map(|line| line.strip_prefix("X-Rcpt-Args: <"));
                    let recipients = args.filter_map(|args| Some(args.split_once('>')?.0.to_owned())).collect();
                    copies.extend(copy(case.name, text.as_bytes(), recipients));
                }
            }
            Peer::Postfix => {
                let receiver = self.receiver.as_ref().context("no receiver")?;
                let address = format!("known@{}", case.domain());
                for mail in receiver.mailbox_of(&address)? {
                    let tls = has(&mail, b"(using TLSv1");
                    let copy = copy("postfix", &mail, vec![address.clone()]);
                    copies.extend(copy.map(|copy| Copy { tls: Some(tls), ..copy }));
                }
            }
            Peer::Nobody => {}
        }
        let name = format!("X-Case: {}\n", case.name);
        copies.retain(|copy| copy.rest.starts_with(name.as_bytes()));
        Ok(copies)
    }

    fn add_taken(&self, place: &str, copies: &mut Vec<Copy>) -> Result<()> {
        for Taken { recipients, tls, answered, content, .. } in self.peers.taken(place)? {
            copies.extend(copy(place, &content, recipients).map(|copy| Copy { tls: Some(tls), answered, ..copy }));
        }
        Ok(())
    }
}

/// What any report must be.
fn good_report(case: &Case, letter: &Letter) -> Result<()> {
    let kind = letter.header("content-type");
    ensure!(letter.is_report(), "no report: {kind}");
    ensure!(letter.defects().is_empty(), "Python says: {}", letter.defects());
    ensure!(letter.header("return-path") == "<>", "its reverse-path is {}", letter.header("return-path"));
    ensure!(letter.header("to").contains(&case.mailbox()), "it is for {}", letter.header("to"));
    let automatic = letter.header("auto-submitted");
    ensure!(automatic.starts_with("auto-"), "Auto-Submitted: {automatic:?}");
    for field in ["from", "date", "subject", "message-id"] {
        ensure!(!letter.header(field).is_empty(), "it has no {field}");
    }
    ensure!(letter.of_message("reporting-mta") == "dns; sluice.test", "{}", letter.of_message("reporting-mta"));
    ensure!(letter.original("x-case") == case.name, "it does not give back what was sent: {:?}", letter.parts());
    let whole = letter.parts().last().is_some_and(|part| ["message/rfc822", "message/global"].contains(part));
    ensure!(whole == (case.account == Account::Full), "what it gives back: {:?}", letter.parts());
    let id = format!("<{}@{HOME}>", case.name);
    ensure!(letter.original("message-id") == id, "{} is not {id}", letter.original("message-id"));
    Ok(())
}

fn has(content: &[u8], words: &[u8]) -> bool {
    content.windows(words.len()).any(|window| window == words)
}

fn copy(place: &str, content: &[u8], recipients: Vec<String>) -> Option<Copy> {
    let rest = below_header(content)?;
    Some(Copy { place: place.to_owned(), recipients, rest, answered: true, tls: None })
}

/// From the X-Case field on, lines with LF: what comes before may have fields of the hosts on the way.
fn below_header(content: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = content.iter().copied().filter(|byte| *byte != b'\r').collect();
    let start = text.windows(8).position(|window| window == b"X-Case: ")?;
    Some(text[start..].to_vec())
}

/// Without blank lines at the end: not every server's file ends as the letter did.
fn trimmed(content: &[u8]) -> &[u8] {
    content.trim_ascii_end()
}

/// Where two texts part.
fn first_difference(sent: &[u8], got: &[u8]) -> String {
    let at = sent.iter().zip(got).take_while(|(sent, got)| sent == got).count();
    let part = |text: &[u8]| text[at.min(text.len())..].iter().take(60).copied().collect::<Vec<_>>();
    let (sent_part, got_part) = (part(sent), part(got));
    format!(
        "octet {at} of {}: sent {:?}, got {:?}",
        sent.len(),
        sent_part.escape_ascii().to_string(),
        got_part.escape_ascii().to_string()
    )
}

/// The words after the last "last attempt: ", or the whole line.
fn reason_of(line: &str) -> String {
    line.trim().rsplit_once("last attempt: ").map_or(line.trim(), |(_, reason)| reason).to_owned()
}

fn has_all(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(&word.to_lowercase()))
}

/// The queue id in a reply such as `250 2.0.0 Ok: queued as 01J…`.
pub(super) fn queue_id(text: &str) -> Option<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| word.len() == 26).map(str::to_owned).next()
}
