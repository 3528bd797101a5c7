//! Texts in the DNS: what receivers find under a name.

use std::net::SocketAddr;

use super::ResolverError;
use super::ask::{Asked, Asker};

/// Looks TXT records up, each time anew.
pub struct TxtRecords(Asker);

/// The DNS does not tell: why, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TxtError(String);

impl TxtRecords {
    /// Asks these name servers; the system's when there are none.
    pub fn new(name_servers: &[SocketAddr]) -> Result<Self, ResolverError> {
        Asker::new(name_servers).map(Self)
    }

    /// The TXT records of `name`, each with its strings joined; none when there is none, or no such name. Aliases are
    /// followed. Waits for a bounded time.
    pub async fn look_up(&self, name: &str) -> Result<Vec<String>, TxtError> {
        match self.0.texts(name).await {
            Asked::Records(texts, _) => Ok(texts),
            Asked::Nothing { .. } => Ok(Vec::new()),
            Asked::Trouble(why) => Err(TxtError(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::NameServer;
    use super::*;

    #[tokio::test]
    async fn texts_are_joined_aliases_followed_and_trouble_told() {
        let server = NameServer::start().await;
        let records = TxtRecords::new(&[server.address]).unwrap();
        let none: &[&str] = &[];
        for (name, expected) in [
            ("s1._domainkey.texts.example", Ok(&["v=DKIM1; p=abc"][..])),
            ("alias._domainkey.texts.example", Ok(&["v=DKIM1; p=abc"][..])),
            ("two.texts.example", Ok(&["one", "two"][..])),
            ("a.example", Ok(none)),
            ("gone.example", Ok(none)),
            ("refused.example", Err("the DNS cannot tell the TXT records of refused.example now: Query Refused")),
        ] {
            let found = records.look_up(name).await.map_err(|e| e.to_string());
            let expected = expected.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
            assert_eq!(found, expected.map_err(str::to_owned), "{name}");
        }
    }
}
