//! What there is to say about each key of `[delivery]`.

use sluice_daemon::config::{Documented, Key};

use super::{RawConfig, RawDomain, RawRoute, RawSite, RawSource};

impl Documented for RawConfig {
    const KEYS: &'static [Key] = &[
        Key::new("ehlo_name", "text", "Our name in EHLO. It should resolve to the address that connections come from, and back.")
            .or("`hostname`"),
        Key::new("source_address", "address", "The local address that connections come from. Peers of the other IP family are reached from the system's choice.")
            .or("the system's choice"),
        Key::tables("sources", SOURCE_KEYS, "Addresses to send from, each with its name in EHLO. With several, a connection takes the next one that has an address of the host's family. None: `source_address`, with `ehlo_name`."),
        Key::new("name_servers", "list of addresses", "DNS servers with their ports, such as `[\"127.0.0.1:53\"]`. Empty: those of `/etc/resolv.conf`."),
        Key::new("prohibited_hosts", "list of networks", "Addresses that the DNS must not lead to: they are never connected to, so that nobody can point a domain's MX at your own machines. IPv6 forms of an IPv4 address count as that address. Our own listeners are barred as well. Static routes are not bound by this."),
        Key::new("allowed_networks", "list of networks", "What of `prohibited_hosts` the DNS may lead to after all."),
        Key::new("default_smtp_port", "number", "Port of the hosts that MX records name."),
        Key::tables("routes", ROUTE_KEYS, "Static routes: mail for a domain goes to these hosts instead of its MX hosts."),
        Key::tables("domains", DOMAIN_KEYS, "What holds for single recipient domains. Connections and messages count against the limits of the site too."),
        Key::tables("sites", SITE_KEYS, "What holds for single sites, instead of the section's own keys."),
        Key::table("lanes", LANE_KEYS, "What holds for each lane, instead of the section's own keys."),
        Key::new("max_smtp_out", "number", "Connections at once to one site (the set of a domain's most preferred MX hosts). 1 to 10000."),
        Key::new("total_max_smtp_out", "number", "Connections at once of the whole process. The fewer are left, the fewer one site may have, so that slow sites cannot take them all."),
        Key::new("max_msg_per_connection", "number", "Messages after which a connection is closed; 0 is no limit."),
        Key::new("max_msg_rate", "rate", "Messages to one site in a time, such as `100/15m`; in no such time are there more. `unlimited`, or `0` for none at all."),
        Key::new("max_connect_rate", "rate", "Connections opened to one site in a time, likewise."),
        Key::new("initial_destination_concurrency", "number", "Connections that a site unknown so far begins with. Each window full of successes adds one, each failed connection takes away its share."),
        Key::new("failed_cohort_limit", "number", "How many windows full of failed connections, without a success between, make a site dead."),
        Key::new("dead_site_pause", "time", "How long nothing is tried at a dead site; then one connection tries whether it lives again."),
        Key::new("retry_after", "list of times", "The waits after the first, second, … failed attempt; the last repeats. Each is moved by up to 10 % either way. 1 to 30 times of `1s` to `7d`."),
        Key::new("bounce_after", "time", "How long after it was accepted undelivered mail is given up, unless the message says otherwise."),
        Key::new("bounce_upon_5xx_greeting", "true or false", "Whether mail is given up when every host that was tried greets with 5xx. Otherwise it is tried again."),
        Key::new("bounce_8bit", "true or false", "Whether mail of 8 bits is given up (5.6.3) at a host that does not offer 8BITMIME. Otherwise it is sent as it is, which nearly every host takes."),
        Key::new("notify_of_delay_every", "time", "How often the sender of mail that still waits is told so, such as `4h`; `0s` is never. `1m` at least."),
        Key::new("max_dsn_rate", "rate", "Reports (DSN) to the senders of one account in a time, such as `1000/h`. What fails beyond it is told in the log and the accounting files only. The account's own `max_dsns_per_hour` comes before it."),
        Key::new("mx_address_limit", "number", "Addresses of MX hosts tried per attempt, at most."),
        Key::new("mx_session_limit", "number", "Of them, those that let us connect, at most."),
        Key::new("use_starttls", "true or false", "Whether sessions are encrypted when the host offers it. Certificates are not verified; a host whose handshake fails is spoken to in the clear. Static routes have their own word, `tls`."),
        Key::new("require_starttls", "true or false", "Whether mail is sent encrypted or not at all. For all mail without a static route."),
        Key::new("ca_file", "path", "PEM file of the authorities whose certificates are believed where a route says `tls = \"verified\"`.")
            .or("the system's"),
        Key::new("ignore_pipelining", "true or false", "Whether commands are sent one by one although the host offers PIPELINING."),
        Key::new("connect_timeout", "time", "How long a connection may take to open, per address."),
        Key::new("smtp_greeting_timeout", "time", "How long the greeting may take. RFC 5321 asks for 5 minutes at least."),
        Key::new("command_timeout", "time", "How long the answers to EHLO, MAIL and RCPT may take, each. RFC 5321 asks for 5 minutes at least."),
        Key::new("data_send_timeout", "time", "How long the content may make no progress. RFC 5321 asks for 3 minutes at least."),
        Key::new("smtp_data_termination_timeout", "time", "How long the answer to a message may take. RFC 5321 asks for 10 minutes at least; less makes duplicates."),
        Key::new("connection_idle_timeout", "time", "How long an unused connection is kept for the next message."),
        Key::new("drain_timeout", "time", "How long transactions may go on at shutdown. What is not decided then is tried again after the next start, also when the host has taken it already."),
        Key::new("max_outstanding", "number", "Envelopes in memory on their way, at most. The rest waits on disk."),
        Key::new("max_outstanding_per_domain", "number", "Of them, those to one domain, so that a slow one cannot hold up the others."),
        Key::new("max_outstanding_bytes", "size", "Bodies of up to 64 KiB in memory on their way, at most."),
        Key::new("max_large_bodies", "size", "Bodies over 64 KiB in memory while they are sent, at most. A single larger one is sent alone. A quarter of it more is for messages that are read back to be returned to their senders."),
    ];
}

impl Documented for RawRoute {
    const KEYS: &'static [Key] = ROUTE_KEYS;
}

impl Documented for RawSource {
    const KEYS: &'static [Key] = SOURCE_KEYS;
}

impl Documented for RawDomain {
    const KEYS: &'static [Key] = DOMAIN_KEYS;
}

impl Documented for RawSite {
    const KEYS: &'static [Key] = SITE_KEYS;
}

const ROUTE_KEYS: &[Key] = &[
    Key::new("domain", "text", "The recipient domain, or `*` for all that have no route of their own.").or("required"),
    Key::new(
        "hosts",
        "list of text",
        "`host:port` of each host, in the order they are tried. Names are resolved by the system.",
    )
    .or("required"),
    Key::new(
        "tls",
        "`\"opportunistic\"`, `\"none\"`, `\"required\"` or `\"verified\"`",
        "Encrypted when it is offered, never, always, or always and with a certificate that proves the host's name.",
    )
    .or("`\"verified\"` with `username`, `\"required\"` with `implicit_tls`, else `\"opportunistic\"`"),
    Key::new(
        "implicit_tls",
        "true or false",
        "Whether TLS begins with the connection (port 465) instead of by STARTTLS.",
    )
    .or("`false`"),
    Key::new(
        "username",
        "text",
        "Log-in name at these hosts. It goes with `tls` of `\"required\"` or `\"verified\"` only, except to loopback \
         addresses.",
    ),
    Key::new("password_file", "path", "File whose first line is the password. Required with `username`."),
];

const SOURCE_KEYS: &[Key] = &[
    Key::new("name", "text", "What it is called in logs and accounting files; each once.").or("required"),
    Key::new("address", "address", "The local address that connections come from; each once.").or("required"),
    Key::new("ehlo_name", "text", "Our name in EHLO when we come from it.").or("`delivery.ehlo_name`"),
];

const DOMAIN_KEYS: &[Key] = &[
    Key::new("domain", "text", "The recipient domain, not those below it; each once.").or("required"),
    Key::new("max_smtp_out", "number", "Connections at once that carry its mail. 1 to 10000.").or(AS_FOR_ALL),
    Key::new("max_msg_per_connection", "number", "Messages after which a connection is closed; 0 is no limit.")
        .or(AS_FOR_ALL),
    Key::new("max_msg_rate", "rate", "Messages in a time.").or(AS_FOR_ALL),
    Key::new("max_connect_rate", "rate", "Connections opened in a time.").or(AS_FOR_ALL),
    Key::new("retry_after", "list of times", "The waits after the first, second, … failed attempt.").or(AS_FOR_ALL),
    Key::new("bounce_after", "time", "When undelivered mail is given up.").or(AS_FOR_ALL),
    Key::new("use_starttls", "true or false", "Whether sessions are encrypted when it is offered.").or(AS_FOR_ALL),
    Key::new("require_starttls", "true or false", "Whether mail is sent encrypted or not at all.").or(AS_FOR_ALL),
];

const SITE_KEYS: &[Key] = &[
    Key::new(
        "site",
        "text",
        "The name of an MX host, which means every site that it is one of the most preferred hosts of; or a site's \
         whole name, as in the log. Each once.",
    )
    .or("required"),
    Key::new("max_smtp_out", "number", "Connections at once. 1 to 10000.").or(AS_FOR_ALL),
    Key::new("max_msg_per_connection", "number", "Messages after which a connection is closed; 0 is no limit.")
        .or(AS_FOR_ALL),
    Key::new("max_msg_rate", "rate", "Messages in a time.").or(AS_FOR_ALL),
    Key::new("max_connect_rate", "rate", "Connections opened in a time.").or(AS_FOR_ALL),
    Key::new("retry_after", "list of times", "The waits after the first, second, … failed attempt.").or(AS_FOR_ALL),
];

const LANE_KEYS: &[Key] = &[
    Key::new("transactional.retry_after", "list of times", "The waits between attempts of transactional mail.")
        .or(AS_FOR_ALL),
    Key::new("transactional.bounce_after", "time", "When undelivered transactional mail is given up.").or(AS_FOR_ALL),
    Key::new("bulk.retry_after", "list of times", "The waits between attempts of bulk mail.").or(AS_FOR_ALL),
    Key::new("bulk.bounce_after", "time", "When undelivered bulk mail is given up.").or(AS_FOR_ALL),
];

/// The default of what one domain, site or lane may have otherwise.
const AS_FOR_ALL: &str = "as for all";
