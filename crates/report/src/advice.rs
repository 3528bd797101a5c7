//! What the sender can do, by class.

use crate::BounceClass;

/// A sentence or two for somebody who is no administrator.
pub(crate) fn advice(class: BounceClass) -> &'static str {
    match class {
        BounceClass::BadMailbox => {
            "There is no such mailbox. Check the address for typing errors. If it was right once, remove it from your \
             address book and lists."
        }
        BounceClass::BadDomain => {
            "The domain, which is the part of the address after the @, does not exist or takes no mail. Check it for \
             typing errors."
        }
        BounceClass::InactiveMailbox => {
            "The mailbox is closed or disabled. Reach the recipient in another way, and remove the address from your \
             address book and lists."
        }
        BounceClass::QuotaIssues => {
            "The recipient's mailbox or mail server has no room. Send the message again in some days, or tell the \
             recipient in another way."
        }
        BounceClass::NoAnswerFromHost | BounceClass::BadConnection => {
            "The recipient's mail server could not be reached, or the connection to it broke. Send the message again \
             later. If that fails too, tell the recipient in another way."
        }
        BounceClass::RelayingIssues => {
            "The server that is named for the recipient's domain does not take mail for it. Check the address. If it \
             is right, the administrator of that domain has to mend this."
        }
        BounceClass::RoutingErrors => {
            "There is no way to the recipient's mail server: it is set up wrongly, or the mail goes round in a circle. \
             Check the address. If it is right, the administrator of that domain has to mend this."
        }
        BounceClass::ContentRelated => {
            "The recipient's server did not like the message itself, such as its size, its form or an attachment. Make \
             it smaller or plainer, or send a link in place of the attachment."
        }
        BounceClass::InvalidSender => {
            "The recipient's server does not accept your own address as sender. Check that it is written correctly \
             and that its domain exists; else ask your administrator."
        }
        BounceClass::MessageExpired => {
            "It was tried for as long as it is allowed to. Check the address. If it is right, send the message again \
             when the trouble above may be over."
        }
        BounceClass::PolicyRelated => {
            "The recipient's server refused the message by a rule of its own. Pass this report to your administrator, \
             or ask the recipient in another way to allow your address."
        }
        BounceClass::ProtocolErrors => {
            "The two mail servers did not understand each other. Pass this report to your administrator."
        }
        BounceClass::SpamRelated => {
            "The recipient's server took the message for unwanted mail, or does not trust its origin. Do not just send \
             it again; pass this report to your administrator."
        }
        BounceClass::VirusRelated => {
            "The recipient's server found something harmful in the message. Check your device and the attachments \
             before you send it again."
        }
        BounceClass::Other => {
            "Read the words above: they are all that is known. If they do not help, pass this report to your \
             administrator."
        }
    }
}
