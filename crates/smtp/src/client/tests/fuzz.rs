//! What must hold whatever the peer says and whenever the shell acts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sluice_mail::Stage;

use super::super::{ClientConfig, Event, Login, Output, Session, TlsMode, TransactionId};
use super::script::to;

#[derive(Clone, Debug)]
enum Act {
    Peer(Vec<u8>),
    Begin(usize),
    Release,
    ContentSent,
    Trailer,
    Tls(bool),
    Wait(u64),
    Quit,
    Close,
    Io,
}

fn peer() -> impl Strategy<Value = Act> {
    let reply = prop::sample::select(vec![
        "220 a\r\n",
        "250 ok\r\n",
        "250-a\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
        "250-a\r\n250 PIPELINING\r\n",
        "250-a\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n",
        "250-a\r\n250 AUTH LOGIN\r\n",
        "334 more\r\n",
        "235 ok\r\n",
        "354 go\r\n",
        "550 5.1.1 no\r\n",
        "450 later\r\n",
        "421 bye\r\n",
        "250\n",
        "25",
        "0 x\r\n",
        "250-",
        "\r\n",
        "\n",
        "what\r\n",
        "\0",
        "250 ok\r\n250 ok\r\n354 go\r\n",
        "250 ok\r\n550 no\r\n554 no\r\n",
        "250 kept\r\n250 ok\r\n250 ok\r\n354 go\r\n",
    ]);
    prop_oneof![
        12 => reply.prop_map(|reply| Act::Peer(reply.into())),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Act::Peer),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => peer(),
        8 => (0usize..4).prop_map(Act::Begin),
        8 => Just(Act::Release),
        6 => Just(Act::ContentSent),
        3 => Just(Act::Trailer),
        2 => any::<bool>().prop_map(Act::Tls),
        1 => (0u64..700).prop_map(Act::Wait),
        1 => Just(Act::Quit),
        1 => Just(Act::Close),
        1 => Just(Act::Io),
    ]
}

/// What is known of a transaction.
#[derive(Debug)]
struct Begun {
    recipients: usize,
    released: bool,
    content: bool,
    sent: bool,
    done: bool,
}

struct Watch {
    session: Session,
    now: Instant,
    begun: BTreeMap<TransactionId, Begun>,
    writing: Option<TransactionId>,
    closed: bool,
}

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "where the test's time begins")]
    fn new(tls: TlsMode, pipelining: bool, logs_in: bool) -> Self {
        let now = Instant::now();
        let login = Arc::new(Login { username: "ann".into(), password: "secret".into() });
        let config = ClientConfig {
            tls,
            pipelining,
            login: logs_in.then_some(login),
            login_in_clear: true,
            ..ClientConfig::new("us.example")
        };
        let session = Session::new(config, now);
        Self { session, now, begun: BTreeMap::new(), writing: None, closed: false }
    }

    fn act(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Peer(bytes) => self.session.handle_input(now, &bytes),
            Act::Begin(recipients) => {
                let room = self.session.can_begin();
                let result = self.session.begin(now, to(&["x@y.org", "y@y.org", "z@y.org"][..recipients]));
                assert_eq!(result.is_ok(), room);
                if let Ok(id) = result {
                    let fresh = Begun { recipients, released: false, content: false, sent: false, done: false };
                    assert!(self.begun.insert(id, fresh).is_none());
                }
            }
            Act::Release => {
                if let Some((id, begun)) = self.begun.iter_mut().find(|(_, begun)| !begun.done && !begun.released) {
                    begun.released = true;
                    self.session.release_content(now, *id);
                }
            }
            Act::Trailer => _ = self.session.poll_trailer(now),
            Act::ContentSent => {
                if let Some(begun) = self.writing.take().and_then(|id| self.begun.get_mut(&id)) {
                    begun.sent = true;
                }
                self.session.handle_content_sent(now);
            }
            Act::Tls(true) => self.session.handle_tls(now, Ok(())),
            Act::Tls(false) => self.session.handle_tls(now, Err("no".into())),
            Act::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.session.handle_timeout(self.now);
            }
            Act::Quit => self.session.quit(now),
            Act::Close => self.session.handle_closed(now),
            Act::Io => self.session.handle_io_error(now, "broken"),
        }
        self.look();
    }

    fn look(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.closed, "{event:?} after the last event");
            match event {
                Event::Ready(_) | Event::StartTls => {}
                Event::Closed(_) => self.closed = true,
                Event::Done(result) => {
                    let begun = self.begun.get_mut(&result.id).unwrap();
                    assert!(!std::mem::replace(&mut begun.done, true), "{:?} ended twice", result.id);
                    assert_eq!(result.results.len(), begun.recipients);
                    let taken = result.results.iter().any(Result::is_ok);
                    assert!(!taken || (begun.released && begun.sent), "taken but not sent");
                    let in_doubt = result.results.iter().flatten_err().any(|stage| stage == Stage::Dot);
                    assert!(!in_doubt || begun.content, "at the dot but never sent");
                }
            }
        }
        while let Some(output) = self.session.poll_output() {
            if let Output::Content(id) = output {
                assert_eq!(self.writing, None);
                let earlier_open = self.begun.range(..id).any(|(_, begun)| !begun.done);
                let begun = self.begun.get_mut(&id).unwrap();
                assert!(begun.released && !begun.content && !begun.done && !earlier_open);
                begun.content = true;
                self.writing = Some(id);
            }
        }
        let open = self.begun.values().filter(|begun| !begun.done).count();
        assert!(open <= 2 && (!self.closed || open == 0), "{open} open");
        assert!(!self.closed || self.session.poll_timeout().is_none());
    }

    fn end(mut self) {
        self.session.handle_closed(self.now);
        self.look();
        assert!(self.closed);
    }
}

/// The stages of the failures among results.
trait FlattenErr {
    fn flatten_err(self) -> impl Iterator<Item = Stage>;
}

impl<'a, T: 'a, I: Iterator<Item = &'a Result<T, sluice_mail::Failure>>> FlattenErr for I {
    fn flatten_err(self) -> impl Iterator<Item = Stage> {
        self.filter_map(|result| result.as_ref().err().map(|failure| failure.stage))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_transaction_ends_once(
        acts in prop::collection::vec(act(), 0..60),
        ready in any::<bool>(),
        pipelining in any::<bool>(),
        logs_in in any::<bool>(),
        tls in prop::sample::select(vec![TlsMode::Off, TlsMode::Opportunistic, TlsMode::Required, TlsMode::Implicit]),
    ) {
        let mut watch = Watch::new(tls, pipelining, logs_in);
        if ready {
            watch.act(Act::Peer(b"220 a\r\n250-a\r\n250 PIPELINING\r\n".to_vec()));
        }
        for act in acts {
            watch.act(act);
        }
        watch.end();
    }

    /// The same replies in other pieces have the same effect.
    #[test]
    fn pieces_do_not_matter(stream in prop::collection::vec(peer(), 0..12), steps in prop::collection::vec(1usize..9, 1..9)) {
        let stream: Vec<u8> = stream.into_iter().flat_map(|act| if let Act::Peer(bytes) = act { bytes } else { vec![] }).collect();
        let run = |pieces: Vec<&[u8]>| {
            let mut watch = Watch::new(TlsMode::Off, true, false);
            let now = watch.now;
            let mut told = Vec::new();
            for n in 1..=2 {
                let id = watch.session.begin(now, to(&["x@y.org", "y@y.org"][..n])).unwrap();
                watch.session.release_content(now, id);
            }
            for piece in pieces {
                watch.session.handle_input(now, piece);
                while watch.session.poll_output().is_some() {}
            }
            watch.session.handle_closed(now);
            while let Some(event) = watch.session.poll_event() {
                told.push(event);
            }
            told
        };
        let mut pieces = Vec::new();
        let (mut rest, mut step) = (&stream[..], steps.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*step.next().unwrap()).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(run(vec![&stream]), run(pieces));
    }
}
