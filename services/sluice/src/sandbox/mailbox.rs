//! The messages that the sandbox keeps: bounded by count and by bytes, the oldest go first. Pure.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use sluice_mail::UnixMs;

use super::letter::{Letter, Summary};
use super::search::Query;

/// How far back a delivery is compared with earlier ones to see whether it is of the same message.
const SAME_MESSAGE_WITHIN: usize = 64;

/// Most recipients that are gathered for one message.
const MAX_RECIPIENTS: usize = 2_000;

/// What the sink took in one transaction.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// The reverse-path; empty for the null sender.
    pub(super) mail_from: String,
    /// The envelope's recipients.
    pub(super) recipients: Vec<String>,
    /// The message.
    pub(super) content: Bytes,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Messages kept now.
    pub(super) messages: usize,
    /// Of these, not opened yet.
    pub(super) unread: usize,
    /// Octets that these are counted with.
    pub(super) bytes: usize,
    /// Deliveries taken since the start.
    pub(super) accepted: u64,
    /// Their octets.
    pub(super) accepted_bytes: u64,
    /// Messages deleted since the start, those that had to make room included.
    pub(super) deleted: u64,
}

/// The messages, the oldest first.
#[derive(Debug)]
pub(super) struct Mailbox {
    max_messages: usize,
    max_bytes: usize,
    entries: VecDeque<Entry>,
    totals: Totals,
    named: u64,
}

/// A message and whether somebody opened it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The message.
    pub(super) letter: Arc<Letter>,
    /// Opened.
    pub(super) read: bool,
}

impl Mailbox {
    /// An empty mailbox that keeps at most `max_messages` in at most `max_bytes`; the newest message is kept
    /// even when it alone is larger.
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { max_messages, max_bytes, entries: VecDeque::new(), totals: Totals::default(), named: 0 }
    }

    /// Keeps a delivery, or adds its recipients to the message that it is another part of. `summary` is the
    /// content's, read before so that no lock is held meanwhile.
    pub(super) fn add(&mut self, now: UnixMs, delivery: Delivery, summary: Summary) {
        self.totals.accepted += 1;
        self.totals.accepted_bytes += delivery.content.len() as u64;
        if self.join(&delivery) {
            return;
        }
        self.named += 1;
        let letter = Letter {
            id: format!("{:011x}{:05x}", now.0, self.named & 0xf_ffff).into(),
            received: now,
            mail_from: delivery.mail_from,
            recipients: delivery.recipients,
            raw: delivery.content,
            summary: Arc::new(summary),
        };
        self.totals.bytes += letter.cost();
        self.entries.push_back(Entry { letter: Arc::new(letter), read: false });
        while self.entries.len() > 1 && (self.entries.len() > self.max_messages || self.totals.bytes > self.max_bytes) {
            self.drop_oldest();
        }
    }

    /// Sluice sends a message to each recipient domain by itself. Its own `Received` field, which names the
    /// message, stands on top of every such delivery, so equal content means the same message.
    fn join(&mut self, delivery: &Delivery) -> bool {
        if !delivery.content.starts_with(b"Received:") {
            return false;
        }
        let same = |entry: &&mut Entry| {
            let letter = &entry.letter;
            letter.mail_from == delivery.mail_from && letter.raw == delivery.content
        };
        let Some(entry) = self.entries.iter_mut().rev().take(SAME_MESSAGE_WITHIN).find(same) else { return false };
        let letter = Arc::make_mut(&mut entry.letter);
        self.totals.bytes -= letter.cost();
        for recipient in &delivery.recipients {
            if letter.recipients.len() < MAX_RECIPIENTS && !letter.recipients.contains(recipient) {
                letter.recipients.push(recipient.clone());
            }
        }
        self.totals.bytes += letter.cost();
        true
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.totals.bytes -= entry.letter.cost();
            self.totals.deleted += 1;
        }
    }

    /// The counts.
    pub(super) fn totals(&self) -> Totals {
        let unread = self.entries.iter().filter(|entry| !entry.read).count();
        Totals { messages: self.entries.len(), unread, ..self.totals }
    }

    /// Those that match, the newest first.
    pub(super) fn find<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().rev().filter(|entry| query.matches(&entry.letter, entry.read))
    }

    /// The message of that id; `latest` is the newest that matches.
    pub(super) fn open(&self, id: &str, query: &Query) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| match id {
            "latest" => query.matches(&entry.letter, entry.read),
            id => *entry.letter.id == *id,
        })
    }

    /// Marks the messages of those ids as read or unread.
    pub(super) fn mark(&mut self, ids: &HashSet<Arc<str>>, read: bool) {
        for entry in self.entries.iter_mut().filter(|entry| ids.contains(&entry.letter.id)) {
            entry.read = read;
        }
    }

    /// Deletes the messages of those ids.
    pub(super) fn delete(&mut self, ids: &HashSet<Arc<str>>) {
        let totals = &mut self.totals;
        self.entries.retain(|entry| {
            let goes = ids.contains(&entry.letter.id);
            if goes {
                totals.bytes -= entry.letter.cost();
                totals.deleted += 1;
            }
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(recipient: &str, content: &str) -> Delivery {
        Delivery {
            mail_from: "a@example.org".to_owned(),
            recipients: vec![recipient.to_owned()],
            content: Bytes::copy_from_slice(content.as_bytes()),
        }
    }

    fn add(mailbox: &mut Mailbox, recipient: &str, content: &str) {
        let delivery = delivery(recipient, content);
        let summary = Summary::read(&delivery.content);
        mailbox.add(UnixMs(1_795_464_000_000), delivery, summary);
    }

    fn subjects(mailbox: &Mailbox) -> Vec<String> {
        mailbox.find(&Query::default()).map(|entry| entry.letter.summary.subject.clone()).collect()
    }

    fn id_of(mailbox: &Mailbox, id: &str) -> Arc<str> {
        mailbox.open(id, &Query::default()).unwrap().letter.id.clone()
    }

    #[test]
    fn the_oldest_go_first_when_there_are_too_many() {
        let mut mailbox = Mailbox::new(2, usize::MAX);
        for n in 1..=3 {
            add(&mut mailbox, "b@example.org", &format!("Subject: {n}\r\n\r\n"));
        }
        assert_eq!(subjects(&mailbox), ["3", "2"]);
        assert_eq!((mailbox.totals().deleted, mailbox.totals().accepted), (1, 3));
    }

    #[test]
    fn the_oldest_go_first_when_they_are_too_large() {
        let mut mailbox = Mailbox::new(100, 10_000);
        for n in 1..=3 {
            add(&mut mailbox, "b@example.org", &format!("Subject: {n}\r\n\r\n{}", "x".repeat(2_000)));
            assert!(mailbox.totals().bytes <= 10_000);
        }
        assert_eq!(subjects(&mailbox), ["3"], "each is counted with its searchable text besides");
        add(&mut mailbox, "b@example.org", &format!("Subject: 4\r\n\r\n{}", "x".repeat(20_000)));
        assert_eq!(subjects(&mailbox), ["4"], "the newest stays, however large");
    }

    #[test]
    fn deleting_everything_frees_every_byte() {
        let mut mailbox = Mailbox::new(10, usize::MAX);
        add(&mut mailbox, "b@example.org", "Received: x\r\n\r\n");
        add(&mut mailbox, "c@example.net", "Received: x\r\n\r\n");
        add(&mut mailbox, "c@example.net", "Subject: y\r\n\r\n");
        let all = mailbox.find(&Query::default()).map(|entry| entry.letter.id.clone()).collect();
        mailbox.delete(&all);
        assert_eq!(mailbox.totals(), Totals { accepted: 3, accepted_bytes: 44, deleted: 2, ..Totals::default() });
    }

    #[test]
    fn the_envelopes_of_one_message_are_one_message() {
        let mut mailbox = Mailbox::new(10, usize::MAX);
        let content = "Received: by mx with ESMTPSA id 01J\r\nSubject: s\r\nTo: b@example.org\r\n\r\n";
        add(&mut mailbox, "b@example.org", content);
        add(&mut mailbox, "c@example.net", content);
        add(&mut mailbox, "c@example.net", content);
        let entry = mailbox.open("latest", &Query::default()).unwrap();
        assert_eq!(entry.letter.recipients, ["b@example.org", "c@example.net"]);
        assert_eq!(entry.letter.bcc()[0].address, "c@example.net");
        assert_eq!(mailbox.totals().messages, 1);
    }

    #[test]
    fn equal_messages_without_a_trace_field_stay_apart() {
        let mut mailbox = Mailbox::new(10, usize::MAX);
        add(&mut mailbox, "b@example.org", "Subject: s\r\n\r\n");
        add(&mut mailbox, "b@example.org", "Subject: s\r\n\r\n");
        assert_eq!(mailbox.totals().messages, 2);
    }

    #[test]
    fn messages_are_opened_marked_and_deleted_by_id() {
        let mut mailbox = Mailbox::new(10, usize::MAX);
        add(&mut mailbox, "b@example.org", "Subject: one\r\n\r\n");
        let one = id_of(&mailbox, "latest");
        add(&mut mailbox, "b@example.org", "Subject: two\r\n\r\n");
        assert_ne!(one, id_of(&mailbox, "latest"));
        mailbox.mark(&HashSet::from([one.clone()]), true);
        assert_eq!(mailbox.totals().unread, 1);
        mailbox.delete(&HashSet::from([one.clone(), "unknown".into()]));
        assert!(mailbox.open(&one, &Query::default()).is_none());
        assert_eq!(subjects(&mailbox), ["two"]);
    }
}
