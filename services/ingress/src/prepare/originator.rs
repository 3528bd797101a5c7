//! Who the message says it is from, and whether the account may say so.

use sluice_mail::Address;
use sluice_mail::header::{Headers, MailboxError, parse_mailboxes};

use super::{Reason, Refusal, shown};
use crate::sender::Sender;

/// Every address of From must be the account's. A From that cannot be read strictly is refused, since another
/// reader could see in it an address that was not checked. So is `From :`: readers that do not know this old form
/// see no From and show what else there is, such as Sender. Gives the addresses.
pub(super) fn check(headers: &Headers<'_>, sender: &Sender) -> Result<Vec<Address>, Refusal> {
    let Some(from) = headers.named("From").next() else {
        return Err(Refusal::content(Reason::Header, "the message has no From field"));
    };
    if from.raw().get(from.name().len()) != Some(&b':') {
        let words = format!("the From field on line {} has a blank before its colon", from.line());
        return Err(Refusal::content(Reason::Header, words));
    }
    let Some(value) = from.text() else {
        return Err(Refusal::content(Reason::Header, "the From field is not UTF-8"));
    };
    let account = &sender.account;
    let addresses = parse_mailboxes(&value).map_err(|e| match e {
        // Another reader may take it for the sender.
        MailboxError::AddressInComment | MailboxError::AddressInQuotes => {
            Refusal::sender(&account.id, value.trim(), &format!("From field with {e}"))
        }
        MailboxError::NoAddress
        | MailboxError::Syntax(_)
        | MailboxError::Address(_)
        | MailboxError::Control(_)
        | MailboxError::Route
        | MailboxError::EncodedWord
        | MailboxError::Unclosed
        | MailboxError::TooMany => {
            Refusal::content(Reason::Header, format!("the From field cannot be read: {e}: {}", shown(&value)))
        }
    })?;
    match addresses.iter().find(|address| !account.may_send_as(address)) {
        Some(foreign) => Err(Refusal::sender(&account.id, foreign.as_str(), "From field")),
        None => Ok(addresses),
    }
}
