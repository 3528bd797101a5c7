use super::*;

const TTL: Duration = Duration::from_secs(300);

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn some_instant() -> Instant {
    Instant::now()
}

fn credential(password: &str) -> Credential {
    Credential { login: "demo".into(), password: PasswordHash::of(password).unwrap(), pool: None, lane: None }
}

fn verifier(config: VerifyConfig) -> Verifier {
    Verifier::new(config).unwrap()
}

fn remembered(verifier: &Verifier) -> usize {
    let cache = verifier.cache.lock().unwrap();
    assert_eq!(cache.order.len(), cache.successes.len());
    cache.successes.len()
}

#[tokio::test]
async fn only_the_right_password_of_a_known_name_is_right() {
    let (verifier, now) = (verifier(VerifyConfig::default()), some_instant());
    let known = credential("secret");
    assert_eq!(verifier.check(now, "demo", "secret", Some(&known)).await, Checked::Right);
    assert_eq!(verifier.check(now, "demo", "Secret", Some(&known)).await, Checked::Wrong);
    assert_eq!(verifier.check(now, "nobody", "secret", None).await, Checked::Wrong);
    assert_eq!(remembered(&verifier), 1, "only the success");
}

#[tokio::test]
async fn a_success_is_remembered_until_it_ages_or_the_password_changes() {
    let (verifier, now) = (verifier(VerifyConfig::default()), some_instant());
    let known = credential("secret");
    let mark = verifier.mark("demo", "secret");
    assert!(!verifier.remembers(now, &mark, &known));
    verifier.check(now, "demo", "secret", Some(&known)).await;
    assert!(verifier.remembers(now + TTL / 2, &mark, &known));
    assert!(!verifier.remembers(now + TTL, &mark, &known), "it ages");
    assert!(!verifier.remembers(now, &mark, &credential("other")), "the password was changed");
    assert!(!verifier.remembers(now, &mark, &credential("secret")), "set again is changed too");
    assert!(!verifier.remembers(now, &verifier.mark("demos", "ecret"), &known));
    verifier.check(now + TTL, "demo", "secret", Some(&known)).await;
    assert!(verifier.remembers(now + TTL, &mark, &known));
    assert_eq!(remembered(&verifier), 1);
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let (verifier, now) = (verifier(VerifyConfig { cache_max: 2, ..VerifyConfig::default() }), some_instant());
    let known = credential("secret");
    for login in ["a", "b", "c"] {
        assert_eq!(verifier.check(now, login, "secret", Some(&known)).await, Checked::Right);
    }
    assert_eq!(remembered(&verifier), 2);
    assert!(!verifier.remembers(now, &verifier.mark("a", "secret"), &known), "the oldest went");
}

#[tokio::test]
async fn too_many_waiting_checks_are_busy() {
    let config = VerifyConfig { parallel: 1, waiting_max: 2, ..VerifyConfig::default() };
    let (verifier, now) = (Arc::new(verifier(config)), some_instant());
    let turn = Arc::clone(&verifier.turns).acquire_owned().await.unwrap();
    let mut waiting: Vec<_> = (0..2)
        .map(|_| {
            let verifier = Arc::clone(&verifier);
            Box::pin(async move { verifier.check(now, "nobody", "x", None).await })
        })
        .collect();
    for check in &mut waiting {
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(check.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
    }
    assert_eq!(verifier.check(now, "nobody", "x", None).await, Checked::Busy);
    drop(waiting.pop());
    drop(turn);
    assert_eq!(waiting.remove(0).await, Checked::Wrong);
    assert_eq!(verifier.waiting.load(Ordering::Relaxed), 0, "every place was given back");
    assert_eq!(verifier.check(now, "nobody", "x", None).await, Checked::Wrong);
}
