//! STARTTLS with certificates of every kind.

use super::expired;
use crate::returns::case::{Case, Expect, Peer, Shown};

pub(super) fn cases() -> Vec<Case> {
    let case =
        |name, policy, shown, expect| Case::new("STARTTLS (aiosmtpd)", name, Peer::Starttls(shown, policy), expect);
    let may = |name, shown| case(name, "opportunistic", shown, Expect::Delivered);
    let must = |name, shown, expect| case(name, "required", shown, expect);
    let verified = |name, shown, expect| case(name, "verified", shown, expect);
    let no = expired;
    vec![
        may("opportunistic-good", Shown::Good).under_tls(true),
        may("opportunistic-expired", Shown::Expired).under_tls(true),
        may("opportunistic-wrong-name", Shown::WrongName).under_tls(true),
        may("opportunistic-self-signed", Shown::SelfSigned).under_tls(true),
        may("opportunistic-old-version", Shown::OldVersion).under_tls(false),
        may("opportunistic-junk", Shown::Junk).under_tls(false),
        may("opportunistic-closes", Shown::Close).under_tls(false),
        may("opportunistic-no-tls", Shown::Nothing).under_tls(false),
        case("never", "none", Shown::Good, Expect::Delivered).under_tls(false),
        must("required-good", Shown::Good, Expect::Delivered).under_tls(true),
        must("required-expired", Shown::Expired, Expect::Delivered).under_tls(true),
        must("required-self-signed", Shown::SelfSigned, Expect::Delivered).under_tls(true),
        must("required-old-version", Shown::OldVersion, no(&["TLS"])),
        must("required-junk", Shown::Junk, no(&["TLS"])),
        must("required-closes", Shown::Close, no(&["TLS"])),
        must("required-no-tls", Shown::Nothing, no(&["STARTTLS"])),
        verified("verified-good", Shown::Good, Expect::Delivered).under_tls(true),
        verified("verified-expired", Shown::Expired, no(&["certificate", "expired"])),
        verified("verified-wrong-name", Shown::WrongName, no(&["certificate"])),
        verified("verified-self-signed", Shown::SelfSigned, no(&["certificate"])),
        verified("verified-old-version", Shown::OldVersion, no(&["TLS"])),
        verified("verified-no-tls", Shown::Nothing, no(&["STARTTLS"])),
    ]
}
