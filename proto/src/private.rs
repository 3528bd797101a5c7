//! `Debug` of messages with private keys in them: all but these.

use std::fmt;

impl fmt::Debug for crate::record::DkimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, selector, account, from_ms, until_ms, algorithm, pem: _, created_ms } = self;
        let mut shown = f.debug_struct("DkimKey");
        shown.field("domain", domain).field("selector", selector).field("account", account);
        shown.field("from_ms", from_ms).field("until_ms", until_ms).field("algorithm", algorithm);
        shown.field("created_ms", created_ms).finish_non_exhaustive()
    }
}

impl fmt::Debug for crate::control::CreateDkimKeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dkim_key, private_key: _ } = self;
        f.debug_struct("CreateDkimKeyRequest").field("dkim_key", dkim_key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_private_is_shown() {
        let kept = crate::record::DkimKey { pem: "secret".into(), selector: "s1".into(), ..Default::default() };
        let asked = crate::control::CreateDkimKeyRequest { private_key: "secret".into(), ..Default::default() };
        let shown = format!("{kept:?} {asked:?}");
        assert!(shown.contains("s1") && !shown.contains("secret"), "{shown}");
    }
}
