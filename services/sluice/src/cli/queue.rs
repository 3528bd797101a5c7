//! `sluice queue`: what waits, and why.

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sluice_mail::{QueueId, UnixMs};
use sluice_proto::control as api;
use tonic::Code;

use super::client::{self, PAGE, answer};
use super::envelope::{standing, to_json, write_block};
use super::format::{ago, count, counted, size, until};
use super::table::{Align, Table};
use super::{CliError, Terminal};

/// Most envelopes of one list, so that it fits in memory.
const LIST_MAX: u64 = 100_000;
/// Characters of a reason in a list.
const REASON_MAX: usize = 80;
/// Domains of a summary that says nothing else.
const DOMAINS: i32 = 50;

/// `sluice queue`.
#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    summary: SummaryArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show waiting mail, envelope by envelope, the oldest first
    List(ListArgs),
    /// Show where a message stands and why, each recipient by itself
    Show(ShowArgs),
    /// Try waiting mail now
    Retry(RetryArgs),
}

/// Which mail is meant: all that fits.
#[derive(Debug, Args)]
struct Filter {
    /// Only mail to this domain
    #[arg(long)]
    domain: Option<String>,
    /// Only mail of this account
    #[arg(long)]
    account: Option<String>,
}

#[derive(Debug, Args)]
struct SummaryArgs {
    #[command(flatten)]
    filter: Filter,
    /// Most domains to show, those with the most mail first [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    max: Option<i32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// Most envelopes to show
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=LIST_MAX))]
    max: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Queue id: the 26 letters and digits of the 250 reply
    #[arg(value_parser = QueueId::parse)]
    id: QueueId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = true)]
struct RetryArgs {
    /// The message or envelope of this queue id
    #[arg(value_parser = QueueId::parse, conflicts_with_all = ["domain", "account", "all"])]
    id: Option<QueueId>,
    /// All mail to this domain
    #[arg(long)]
    domain: Option<String>,
    /// All mail of this account
    #[arg(long)]
    account: Option<String>,
    /// All mail
    #[arg(long, conflicts_with_all = ["domain", "account"])]
    all: bool,
}

impl QueueArgs {
    /// An option of the summary that stands before a subcommand, where it would be ignored. Not clap's
    /// `args_conflicts_with_subcommands`, which would refuse the global options there too.
    pub(super) fn misplaced(&self) -> Option<&'static str> {
        let SummaryArgs { filter: Filter { domain, account }, max, json } = &self.summary;
        let given = [
            (domain.is_some(), "--domain"),
            (account.is_some(), "--account"),
            (max.is_some(), "--max"),
            (*json, "--json"),
        ];
        self.command.as_ref()?;
        given.into_iter().find_map(|(is_given, name)| is_given.then_some(name))
    }
}

/// Does what `args` say on the server at `socket`.
pub(super) async fn run(args: QueueArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    match args.command {
        None => summarize(args.summary, socket, terminal).await,
        Some(Command::List(args)) => list(args, socket, terminal).await,
        Some(Command::Show(args)) => show(&args, socket, terminal).await,
        Some(Command::Retry(args)) => retry(args, socket, terminal).await,
    }
}

async fn summarize(args: SummaryArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let filtered = args.filter.domain.is_some() || args.filter.account.is_some();
    let (domain, account) = args.filter.texts();
    let request = api::SummarizeQueueRequest { domain, account, max_domains: args.max.unwrap_or(DOMAINS) };
    let summary = answer(client::queues(socket).await?.summarize_queue(request)).await?;
    if args.json {
        Ok(writeln!(terminal.stdout, "{}", summary_json(&summary))?)
    } else {
        write_summary(&summary, filtered, terminal.now, terminal.stdout)
    }
}

async fn list(args: ListArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let max = usize::try_from(args.max).unwrap_or(usize::MAX);
    let (envelopes, more) = first(&args.filter, max, socket).await?;
    if args.json {
        let values: Vec<Value> = envelopes.iter().map(to_json).collect();
        return Ok(writeln!(terminal.stdout, "{}", Value::from(values))?);
    }
    if envelopes.is_empty() {
        return Ok(writeln!(terminal.stdout, "Nothing waits.")?);
    }
    list_table(&envelopes, terminal.now).write(terminal.stdout)?;
    if more {
        writeln!(terminal.stdout, "\nThere are more than {}: --max shows them.", count(args.max))?;
    }
    Ok(())
}

/// The first `max` envelopes, and whether there are more.
async fn first(filter: &Filter, max: usize, socket: &Path) -> Result<(Vec<api::QueuedEnvelope>, bool), CliError> {
    let mut client = client::queues(socket).await?;
    let mut envelopes = Vec::new();
    let mut page_token = String::new();
    loop {
        let page_size = i32::try_from(PAGE.min(max - envelopes.len())).unwrap_or(i32::MAX);
        let (domain, account) = filter.texts();
        let request = api::ListEnvelopesRequest { domain, account, page_size, page_token };
        let page = answer(client.list_envelopes(request)).await?;
        envelopes.extend(page.envelopes);
        page_token = page.next_page_token;
        if page_token.is_empty() || envelopes.len() >= max {
            return Ok((envelopes, !page_token.is_empty()));
        }
    }
}

async fn show(args: &ShowArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let request = api::GetEnvelopesRequest { queue_id: args.id.to_string() };
    let envelopes = match answer(client::queues(socket).await?.get_envelopes(request)).await {
        Ok(found) if found.envelopes.is_empty() => return Err(CliError::UnknownMail(args.id)),
        Err(CliError::Refused(status)) if status.code() == Code::NotFound => {
            return Err(CliError::UnknownMail(args.id));
        }
        found => found?.envelopes,
    };
    if args.json {
        let values: Vec<Value> = envelopes.iter().map(to_json).collect();
        return Ok(writeln!(terminal.stdout, "{}", Value::from(values))?);
    }
    write_message(&envelopes, terminal.now, terminal.stdout)
}

async fn retry(args: RetryArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let request = api::RetryNowRequest {
        queue_id: args.id.map(|id| id.to_string()).unwrap_or_default(),
        domain: args.domain.unwrap_or_default(),
        account: args.account.unwrap_or_default(),
        all: args.all,
    };
    let retried = answer(client::queues(socket).await?.retry_now(request)).await?.envelopes;
    match (retried, args.id) {
        (0, Some(id)) => Err(CliError::NothingWaits(id)),
        (0, None) => Ok(writeln!(terminal.stdout, "Nothing waits.")?),
        (1, _) => Ok(writeln!(terminal.stdout, "1 envelope is due now.")?),
        (n, _) => Ok(writeln!(terminal.stdout, "{} are due now.", counted(n, "envelope"))?),
    }
}

impl Filter {
    /// Domain and account as the API wants them.
    fn texts(&self) -> (String, String) {
        (self.domain.clone().unwrap_or_default(), self.account.clone().unwrap_or_default())
    }
}

fn write_summary(
    summary: &api::SummarizeQueueResponse,
    filtered: bool,
    now: UnixMs,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let sum = |part: fn(&api::DomainSummary) -> u64| summary.domains.iter().map(part).sum::<u64>();
    let listed = (sum(|d| d.ready), sum(|d| d.active), sum(|d| d.waiting));
    // The server's totals are of the whole queue, whatever was asked for.
    let (ready, active, waiting) = if filtered { listed } else { (summary.ready, summary.active, summary.waiting) };
    let total = ready + active + waiting;
    if total == 0 && summary.domains.is_empty() {
        return Ok(writeln!(out, "{}", if filtered { "Nothing waits." } else { "The queue is empty." })?);
    }
    summary_table(&summary.domains, now).write(out)?;
    let others = total.saturating_sub(listed.0 + listed.1 + listed.2);
    if others > 0 {
        writeln!(out, "\nAnd {} to other domains: --max shows them.", counted(others, "envelope"))?;
    }
    let [ready, active, waiting] = [ready, active, waiting].map(count);
    let kept = if filtered { String::new() } else { format!("; {} on disk", size(summary.bytes)) };
    Ok(writeln!(out, "\n{}: {ready} ready, {active} active, {waiting} waiting{kept}", counted(total, "envelope"))?)
}

fn summary_table(domains: &[api::DomainSummary], now: UnixMs) -> Table<6> {
    let mut table = Table::new([
        ("DOMAIN", Align::Left),
        ("READY", Align::Right),
        ("ACTIVE", Align::Right),
        ("WAITING", Align::Right),
        ("NEXT TRY", Align::Left),
        ("OLDEST", Align::Left),
    ]);
    for d in domains {
        let next = if d.next_due_ms == 0 { String::new() } else { until(UnixMs(d.next_due_ms), now) };
        let oldest = if d.oldest_ms == 0 { String::new() } else { ago(UnixMs(d.oldest_ms), now) };
        table.row([d.domain.clone(), count(d.ready), count(d.active), count(d.waiting), next, oldest]);
    }
    table
}

fn summary_json(summary: &api::SummarizeQueueResponse) -> Value {
    let time = |ms: u64| if ms == 0 { Value::Null } else { Value::from(ms) };
    let domain = |d: &api::DomainSummary| {
        json!({
            "domain": d.domain, "ready": d.ready, "active": d.active, "waiting": d.waiting,
            "next_due_ms": time(d.next_due_ms), "oldest_ms": time(d.oldest_ms),
        })
    };
    json!({
        "ready": summary.ready, "active": summary.active, "waiting": summary.waiting, "bytes": summary.bytes,
        "domains": summary.domains.iter().map(domain).collect::<Vec<_>>(),
    })
}

fn list_table(envelopes: &[api::QueuedEnvelope], now: UnixMs) -> Table<10> {
    let mut table = Table::new([
        ("QUEUE ID", Align::Left),
        ("STATE", Align::Left),
        ("NEXT TRY", Align::Left),
        ("TRIES", Align::Right),
        ("GIVEN UP", Align::Left),
        ("SIZE", Align::Right),
        ("ACCOUNT", Align::Left),
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("LAST ATTEMPT", Align::Left),
    ]);
    let when = |ms: u64| if ms == 0 { String::new() } else { until(UnixMs(ms), now) };
    for e in envelopes {
        let (next, end) = (when(e.due_ms), when(e.expires_ms));
        let from = if e.mail_from.is_empty() { "<>".to_owned() } else { e.mail_from.clone() };
        let (id, state, account) = (e.queue_id.clone(), e.state.clone(), e.account.clone());
        let tries = count(e.attempts.into());
        table.row([id, state, next, tries, end, size(e.size), account, from, to(e), shortened(&e.last_reply)]);
    }
    table
}

/// As much as stands well at the end of a line; `show` has all of it.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(REASON_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The recipient, or the domain and how many there are.
fn to(envelope: &api::QueuedEnvelope) -> String {
    match envelope.recipients.as_slice() {
        [one] => one.address.clone(),
        many => format!("{} ({} recipients)", envelope.domain, many.len()),
    }
}

/// A block for each envelope, below a line for each when there are several.
fn write_message(envelopes: &[api::QueuedEnvelope], now: UnixMs, out: &mut dyn Write) -> Result<(), CliError> {
    if envelopes.len() > 1 {
        writeln!(
            out,
            "{} of this message, one for each recipient domain:\n",
            counted(envelopes.len() as u64, "envelope")
        )?;
        for e in envelopes {
            writeln!(out, "  {}: {}", e.domain, standing(e, now))?;
        }
        writeln!(out)?;
    }
    for (i, envelope) in envelopes.iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        write_block(envelope, now, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_464_000_000);

    fn domain(name: &str, waiting: u64) -> api::DomainSummary {
        api::DomainSummary {
            domain: name.into(),
            ready: 1,
            active: 0,
            waiting,
            next_due_ms: if waiting == 0 { 0 } else { NOW.0 + 252_000 },
            oldest_ms: NOW.0 - 7_200_000,
        }
    }

    fn said(summary: &api::SummarizeQueueResponse, filtered: bool) -> String {
        let mut out = Vec::new();
        write_summary(summary, filtered, NOW, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_summary_counts_by_domain_and_in_all() {
        let domains = vec![domain("one.example", 1_500), domain("two.example", 0)];
        let mut summary = api::SummarizeQueueResponse { domains, ready: 2, active: 0, waiting: 1_500, bytes: 6 << 20 };
        let expected = "\
DOMAIN       READY  ACTIVE  WAITING  NEXT TRY       OLDEST
one.example      1       0    1,500  in 4 min 12 s  2 h ago
two.example      1       0        0  -              2 h ago

1,502 envelopes: 2 ready, 0 active, 1,500 waiting; 6 MiB on disk
";
        assert_eq!(said(&summary, false), expected);
        summary.waiting = 1_510;
        let text = said(&summary, false);
        assert!(text.contains("And 10 envelopes to other domains: --max shows them."), "{text}");
        assert!(said(&summary, true).ends_with("\n1,502 envelopes: 2 ready, 0 active, 1,500 waiting\n"));
    }

    #[test]
    fn an_empty_queue_says_so() {
        assert_eq!(said(&api::SummarizeQueueResponse::default(), false), "The queue is empty.\n");
        assert_eq!(said(&api::SummarizeQueueResponse::default(), true), "Nothing waits.\n");
    }

    #[test]
    fn programs_get_the_same_numbers() {
        let summary = api::SummarizeQueueResponse {
            domains: vec![domain("one.example", 0)],
            ready: 1,
            ..api::SummarizeQueueResponse::default()
        };
        let value = summary_json(&summary);
        assert_eq!((&value["ready"], &value["domains"][0]["next_due_ms"]), (&json!(1), &Value::Null));
    }

    #[test]
    fn the_list_names_one_recipient_or_counts_them() {
        let recipient = |a: &str| api::RecipientState { address: a.into(), ..Default::default() };
        let one = api::QueuedEnvelope { recipients: vec![recipient("a@one.example")], ..Default::default() };
        let two = api::QueuedEnvelope {
            domain: "one.example".into(),
            recipients: vec![recipient("a@one.example"), recipient("b@one.example")],
            ..Default::default()
        };
        assert_eq!((to(&one), to(&two)), ("a@one.example".into(), "one.example (2 recipients)".into()));
    }

    #[test]
    fn the_list_says_why_and_until_when() {
        let waiting = api::QueuedEnvelope {
            due_ms: NOW.0 + 252_000,
            expires_ms: NOW.0 + 86_400_000,
            attempts: 2,
            last_reply: format!("451 4.7.1 greylisted {}", "x".repeat(100)),
            ..Default::default()
        };
        let mut out = Vec::new();
        list_table(&[waiting], NOW).write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for words in ["  in 4 min 12 s  ", "  in 1 d  ", "  451 4.7.1 greylisted xxx", "x…\n"] {
            assert!(text.contains(words), "{words} in:\n{text}");
        }
    }

    #[test]
    fn a_message_of_several_envelopes_begins_with_an_overview() {
        let envelope = |domain: &str, state: &str| api::QueuedEnvelope {
            domain: domain.into(),
            state: state.into(),
            ..Default::default()
        };
        let mut out = Vec::new();
        write_message(&[envelope("a.example", "active"), envelope("b.example", "ready")], NOW, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let head = "2 envelopes of this message, one for each recipient domain:\n\n  a.example: being delivered now\n  b.example: ready";
        assert!(text.starts_with(head), "{text}");
    }
}
