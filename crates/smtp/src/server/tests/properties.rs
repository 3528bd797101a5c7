//! Any octets, any chunking.

use proptest::prelude::*;

use super::*;

/// Pieces of conversation, whole, broken and foreign.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::sample::select(vec![
            "EHLO me\r\n",
            "HELO me\r\n",
            "MAIL FROM:<a@a.test>\r\n",
            "MAIL FROM:<refused@a.test> SIZE=1\r\n",
            "RCPT TO:<b@b.test>\r\n",
            "RCPT TO:<bad@b.test>\r\n",
            "DATA\r\n",
            "Subject: x\r\n",
            "\r\n",
            ".\r\n",
            "..\r\n",
            "\n.\n",
            "\r.\r",
            "\r",
            "\n",
            ".",
            "RSET\r\n",
            "NOOP\r\n",
            "QUIT\r\n",
            "AUTH PLAIN AHVzZXIAcGFzcw==\r\n",
            "AUTH PLAIN\r\n",
            "AUTH LOGIN\r\n",
            "dXNlcg==\r\n",
            "*\r\n",
            "ü\r\n",
            "REFUSE\r\n",
            "AUTH",
            "HELP\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
        (1..3_000_usize).prop_map(|n| vec![b'x'; n]),
    ]
}

fn config() -> SessionConfig {
    let mut config = SessionConfig { auth: AuthPolicy::Always, authenticated: true, ..SessionConfig::new("mx.test") };
    config.limits.max_message_size = 5_000;
    config
}

proptest! {
    #[test]
    fn chunking_changes_nothing(
        pieces in proptest::collection::vec(piece(), 0..40),
        cuts in proptest::collection::vec(1..200_usize, 1..20),
    ) {
        let octets = pieces.concat();
        let mut whole = Host::new(&config());
        whole.send(&octets);
        let mut chunked = Host::new(&config());
        let mut rest = &octets[..];
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            chunked.send(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(whole.log, chunked.log);
        for (a, b) in whole.messages.iter().zip(&chunked.messages) {
            prop_assert_eq!(&a.content, &b.content);
        }
    }

    #[test]
    fn no_octets_make_it_panic_or_say_something_that_is_no_reply(octets in proptest::collection::vec(any::<u8>(), 0..4_000)) {
        let mut host = Host::new(&config());
        host.send(&octets);
        for line in host.log.iter().filter_map(|line| line.strip_prefix("S: ")) {
            prop_assert!(line.len() <= 510 && line.is_ascii(), "{}", line);
            prop_assert!(line[..3].bytes().all(|b| b.is_ascii_digit()) && matches!(line.as_bytes()[3], b' ' | b'-'));
        }
    }
}
