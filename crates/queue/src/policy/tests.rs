use super::*;

fn rate(text: &str) -> Option<Rate> {
    Some(text.parse().unwrap())
}

fn schedule(seconds: u64) -> RetrySchedule {
    RetrySchedule::new(vec![Duration::from_secs(seconds)]).unwrap()
}

fn retry(seconds: u64) -> Directives {
    Directives { retry_after: Some(schedule(seconds)), ..Directives::default() }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

#[test]
fn nothing_ordered_means_the_defaults() {
    let policy = Policy::default();
    let host = Host::Domain(domain("example.org"));
    let scope = Scope { lane: Lane::Bulk, site: Some("mx.example.org"), domain: &host, account: None };
    assert_eq!(policy.retry(&scope), &RetrySchedule::default());
    assert_eq!(policy.bounce_after(&scope), Duration::from_secs(108 * 3600));
    assert_eq!(policy.domain_limits(&host), None);
    let limits = policy.site_limits("mx.example.org");
    assert_eq!((limits.max_smtp_out, limits.max_msg_per_connection), (20, 100));
    assert_eq!((limits.max_msg_rate, limits.max_connect_rate, limits.said), (None, None, Said::default()));
}

#[test]
fn the_more_particular_word_holds() {
    let policy = Policy::new(Rules {
        general: retry(1),
        transactional: retry(2),
        bulk: Directives { bounce_after: Some(Duration::from_secs(7)), ..Directives::default() },
        sites: vec![("mx.example.org".into(), retry(3))],
        domains: vec![(domain("example.org"), retry(4))],
    });
    let account = retry(5);
    let at = |lane, site, name: &str, account| {
        let host = Host::Domain(domain(name));
        let wait = policy.retry(&Scope { lane, site, domain: &host, account }).delay(1, 0.5);
        wait.as_secs()
    };
    assert_eq!(at(Lane::Bulk, None, "other.example", None), 1, "general");
    assert_eq!(at(Lane::Transactional, None, "other.example", None), 2, "lane");
    assert_eq!(at(Lane::Transactional, Some("mx.example.org"), "other.example", None), 3, "site");
    assert_eq!(at(Lane::Transactional, Some("mx.example.org"), "example.org", None), 4, "domain");
    assert_eq!(at(Lane::Transactional, Some("mx.example.org"), "example.org", Some(&account)), 5, "account");
    let host = Host::Domain(domain("example.org"));
    let scope = Scope { lane: Lane::Bulk, site: None, domain: &host, account: None };
    assert_eq!(policy.bounce_after(&scope), Duration::from_secs(7), "each key for itself");
}

#[test]
fn a_site_is_named_whole_or_by_one_of_its_hosts() {
    let out = |n| Directives { max_smtp_out: Some(n), ..Directives::default() };
    let policy = Policy::new(Rules {
        sites: vec![
            ("MX2.Example.org.".into(), out(2)),
            ("b.example, a.example".into(), out(3)),
            ("relay.example:2525".into(), out(4)),
            ("192.0.2.1".into(), out(5)),
            ("::1".into(), out(6)),
        ],
        ..Rules::default()
    });
    for (site, want) in [
        ("mx1.example.org,mx2.example.org", 2),
        ("a.example,b.example", 3),
        ("b.example,a.example", 3),
        ("a.example", 20),
        ("mx2.example.org.evil.example", 20),
        ("relay.example:2525", 4),
        ("relay.example:25", 20),
        ("192.0.2.1:25", 5),
        ("[::1]:25", 6),
        ("::1", 6),
        ("MX2.example.org", 2),
    ] {
        assert_eq!(policy.site_limits(site).max_smtp_out, want, "{site}");
    }
}

#[test]
fn unlimited_can_be_said_against_a_more_general_limit() {
    let policy = Policy::new(Rules {
        general: Directives { max_msg_rate: Some(rate("10/s")), ..Directives::default() },
        sites: vec![("free.example".into(), Directives { max_msg_rate: Some(None), ..Directives::default() })],
        ..Rules::default()
    });
    assert_eq!(policy.site_limits("x.example").max_msg_rate, rate("10/s"));
    let free = policy.site_limits("free.example");
    assert_eq!((free.max_msg_rate, free.said.max_msg_rate, free.said.max_smtp_out), (None, true, false));
}

#[test]
fn only_domains_with_limits_have_limits() {
    let limited = |n| Directives { max_smtp_out: Some(n), ..Directives::default() };
    let policy = Policy::new(Rules {
        domains: vec![
            (domain("patient.example"), retry(9)),
            (domain("one.example"), limited(1)),
            (domain("two.example"), limited(2)),
            (domain("one.example"), limited(3)),
        ],
        ..Rules::default()
    });
    let limits = |name: &str| policy.domain_limits(&Host::Domain(domain(name))).map(|l| (l.place, l.max_smtp_out));
    assert_eq!(limits("patient.example"), None);
    assert_eq!(limits("one.example"), Some((0, Some(3))), "the later holds");
    assert_eq!(limits("two.example"), Some((1, Some(2))));
    assert_eq!(limits("sub.one.example"), None, "a domain is not its subdomains");
    assert_eq!(policy.limited_domains(), 2);
    let literal = Host::Literal("192.0.2.1".parse().unwrap());
    assert_eq!(policy.domain_limits(&literal), None);
}
