//! Whether all that listens can listen at the same time.

use std::net::SocketAddr;

use sluice_daemon::config::KeyError;

/// Refuses the second of two addresses that no system lets one process have at once.
pub(super) fn check(addresses: impl IntoIterator<Item = (String, SocketAddr)>) -> Result<(), KeyError> {
    let mut before: Vec<(String, SocketAddr)> = Vec::new();
    for (key, address) in addresses {
        if let Some((other, taken)) = before.iter().find(|(_, taken)| overlap(*taken, address)) {
            let problem = format!("expected an address of its own: {other} = \"{taken}\" has this port there already");
            return Err(KeyError::new(key, problem));
        }
        before.push((key, address));
    }
    Ok(())
}

/// Whether both are the same, or one is all addresses of the other's family. Whether `[::]` takes IPv4 as well is the
/// system's to say, so that is left to the start. Port 0 is always another one.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let (one, other) = (a.ip().to_canonical(), b.ip().to_canonical());
    let wide = one.is_unspecified() || other.is_unspecified();
    a.port() == b.port() && a.port() != 0 && (one == other || (wide && one.is_ipv4() == other.is_ipv4()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_cannot_listen_at_once() {
        for (a, b, expected) in [
            ("127.0.0.1:25", "127.0.0.1:25", true),
            ("0.0.0.0:25", "127.0.0.1:25", true),
            ("192.0.2.1:25", "0.0.0.0:25", true),
            ("[::]:25", "[::1]:25", true),
            ("[::ffff:127.0.0.1]:25", "127.0.0.1:25", true),
            ("127.0.0.1:25", "127.0.0.2:25", false),
            ("0.0.0.0:25", "127.0.0.1:26", false),
            ("0.0.0.0:0", "127.0.0.1:0", false),
            ("[::]:25", "0.0.0.0:25", false),
            ("[::1]:25", "0.0.0.0:25", false),
        ] {
            let result = check([("x".to_owned(), a.parse().unwrap()), ("y".to_owned(), b.parse().unwrap())]);
            assert_eq!(result.is_err(), expected, "{a} {b}");
            if let Err(error) = result {
                assert!(error.to_string().starts_with("y: ") && error.to_string().contains(&format!("x = \"{a}\"")));
            }
        }
    }
}
