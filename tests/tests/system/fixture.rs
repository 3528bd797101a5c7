//! What many tests begin with.

use std::sync::Arc;

use anyhow::Result;
use sluice_tests::sink::{Mailbox, Sink};
use sluice_tests::sluice::{Settings, Sluice};
use sluice_tests::smtp::Client;

/// An account of most tests.
pub(crate) const ALICE: &str = "alice";
/// Its password.
pub(crate) const PASSWORD: &str = "correct horse battery";
/// An address that it may send as.
pub(crate) const FROM: &str = "alice@example.org";

/// A small good message from [`FROM`].
pub(crate) const MESSAGE: &[u8] =
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: hello\r\n\r\nHello Bob.\r\n";

/// Sluice with the account [`ALICE`] and a sink of ours that all its mail goes to.
pub(crate) struct Scene {
    /// Stops before the sink does.
    pub(crate) sluice: Sluice,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) sink: Sink,
}

impl Scene {
    /// With the settings that `change` leaves.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Result<Self> {
        Self::before(Mailbox::default(), change)
    }

    /// In front of this mailbox.
    pub(crate) fn before(mailbox: Mailbox, change: impl FnOnce(&mut Settings)) -> Result<Self> {
        let mailbox = Arc::new(mailbox);
        let sink = Sink::start(mailbox.clone())?;
        let mut settings = Settings::to(sink.address());
        change(&mut settings);
        let sluice = Sluice::start(&settings)?;
        sluice.add_account(ALICE, PASSWORD, &["example.org"])?;
        Ok(Self { sluice, mailbox, sink })
    }

    /// As it comes.
    pub(crate) fn new() -> Result<Self> {
        Self::with(|_| ())
    }

    /// Adds an account with [`PASSWORD`] that may send as [`FROM`], and with what `options` give it.
    pub(crate) fn add(&self, account: &str, options: &[&str]) -> Result<()> {
        let add = ["account", "add", account, "--domain", "example.org", "--password-stdin"];
        self.sluice.cli_with(&[&add[..], options].concat(), format!("{PASSWORD}\n").as_bytes())?.success()?;
        Ok(())
    }

    /// A session under TLS, logged in as [`ALICE`].
    pub(crate) fn alice(&self) -> Result<Client> {
        self.log_in(ALICE)
    }

    /// A session under TLS, logged in as `account`.
    pub(crate) fn log_in(&self, account: &str) -> Result<Client> {
        let mut client = self.under_tls()?;
        client.auth_plain(account, PASSWORD)?.expect("235")?;
        Ok(client)
    }

    /// A session under TLS, not logged in.
    pub(crate) fn under_tls(&self) -> Result<Client> {
        Client::open(self.sluice.ports.submission)?.starttls(&self.sluice.certificate.certificate)
    }

    /// A session on the listener that trusts loopback.
    pub(crate) fn trusted(&self) -> Result<Client> {
        Client::open(self.sluice.ports.trusted)
    }
}

/// The queue id in a reply such as `250 2.0.0 Ok: queued as 01J…`: its 26 letters and digits.
pub(crate) fn queue_id(text: &str) -> Option<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.len() == 26)
        .find(|word| word.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()))
}
