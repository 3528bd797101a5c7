//! `sluice account set`: a change of some of an account's rules.

use std::path::Path;

use clap::Args;
use clap::builder::BoolishValueParser;
use sluice_mail::{Address, Domain, Lane};
use sluice_proto::FieldMask;
use sluice_proto::control as api;
use tonic::Code;

use super::rules::{ReturnArgs, lane};
use super::show::write_block;
use super::{CliError, Terminal, answer, client, resource};

pub(super) const EXAMPLES: &str = "\
Examples:
  sluice account set shop --add-domain new.example --remove-domain old.example
  sluice account set shop --dsn full --max-dsns-per-hour 100
  sluice account set news --retry-after 10m,1h,4h --bounce-after 2d
  sluice account set news --retry-after default --bounce-after default --messages-per-minute 0";

/// How often a change is made anew because another came between.
const TRIES: u32 = 5;

/// `sluice account set`.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Name of the account
    name: String,
    /// Let it send from this domain and those below it; may be repeated
    #[arg(long = "add-domain", value_name = "DOMAIN", value_parser = Domain::parse)]
    add_domains: Vec<Domain>,
    /// Let it send from this domain, but not from those below it; may be repeated
    #[arg(long = "add-exact-domain", value_name = "DOMAIN", value_parser = Domain::parse)]
    add_exact_domains: Vec<Domain>,
    /// Let it no longer send from this domain of its list; may be repeated
    #[arg(long = "remove-domain", value_name = "DOMAIN", value_parser = Domain::parse)]
    remove_domains: Vec<Domain>,
    /// Let it send from this single address; may be repeated
    #[arg(long = "add-address", value_name = "ADDRESS", value_parser = Address::parse)]
    add_addresses: Vec<Address>,
    /// Let it no longer send from this address of its list; may be repeated
    #[arg(long = "remove-address", value_name = "ADDRESS", value_parser = Address::parse)]
    remove_addresses: Vec<Address>,
    /// The lanes that it may use, transactional or bulk, instead of those it has; the first by default; may be repeated
    #[arg(long = "lane", value_name = "LANE", value_parser = lane)]
    lanes: Vec<Lane>,
    /// The pools that it may use, instead of those it has; the first by default; may be repeated
    #[arg(long = "pool", value_name = "POOL", conflicts_with = "no_pools")]
    pools: Vec<String>,
    /// No pools but the default one
    #[arg(long)]
    no_pools: bool,
    /// Messages that it may submit a minute; 0 is no limit
    #[arg(long, value_name = "N")]
    messages_per_minute: Option<u32>,
    /// Recipients that it may submit to a minute; 0 is no limit
    #[arg(long, value_name = "N")]
    recipients_per_minute: Option<u32>,
    /// Sessions that it may have at the same time; 0 is no limit of its own
    #[arg(long, value_name = "N")]
    max_sessions: Option<u32>,
    /// Whether lines over 998 octets pass unchanged instead of being refused
    #[arg(long, value_name = "yes|no", value_parser = BoolishValueParser::new())]
    allow_long_lines: Option<bool>,
    /// Whether the Received field names the client's address
    #[arg(long, value_name = "yes|no", value_parser = BoolishValueParser::new())]
    show_client_address: Option<bool>,
    /// Whether mail is refused whose From domain no DKIM key fits
    #[arg(long, value_name = "yes|no", value_parser = BoolishValueParser::new())]
    require_dkim: Option<bool>,
    /// Whether mail that comes with a DKIM-Signature is left at that, instead of being signed in addition
    #[arg(long, value_name = "yes|no", value_parser = BoolishValueParser::new())]
    leave_signed: Option<bool>,
    #[command(flatten)]
    returns: ReturnArgs,
}

/// The account is changed as `args` say. Lists are read, edited and written back; when another writes between, all of
/// it is done again.
pub(super) async fn set(args: SetArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let mut client = client::accounts(socket).await?;
    let name = resource(&args.name);
    let edits = args.edits();
    let (mut asked, mut paths) = args.values();
    let mut tries = 0;
    loop {
        tries += 1;
        let current = answer(client.get_account(api::GetAccountRequest { name: name.clone() })).await?;
        edits.put(&current, &mut asked, &mut paths)?;
        (asked.name, asked.etag) = (name.clone(), current.etag.clone());
        let update_mask = Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
        let request = api::UpdateAccountRequest { account: Some(asked.clone()), update_mask };
        match answer(client.update_account(request)).await {
            Err(CliError::Refused(status)) if status.code() == Code::Aborted && tries < TRIES => {}
            Err(error) => return Err(error),
            Ok(account) => {
                let done = if account.etag == current.etag { "was so already" } else { "is changed" };
                writeln!(terminal.stdout, "Account {} {done}.\n", edits.account)?;
                return Ok(write_block(&account, terminal.stdout)?);
            }
        }
    }
}

/// What is to be done with the lists of senders.
#[derive(Debug)]
struct Edits {
    account: String,
    add_domains: Vec<api::SenderDomain>,
    remove_domains: Vec<String>,
    add_addresses: Vec<String>,
    remove_addresses: Vec<String>,
}

impl Edits {
    /// Sets the lists that change, as they come to be from `current`, and names their fields.
    fn put(
        &self,
        current: &api::Account,
        asked: &mut api::Account,
        paths: &mut Vec<&'static str>,
    ) -> Result<(), CliError> {
        let missing = |what: &String| CliError::NotASender { account: self.account.clone(), what: what.clone() };
        let mut domains = current.sender_domains.clone();
        for domain in &self.remove_domains {
            let place = domains.iter().position(|s| s.domain == *domain).ok_or_else(|| missing(domain))?;
            domains.remove(place);
        }
        for domain in &self.add_domains {
            domains.retain(|s| s.domain != domain.domain);
            domains.push(domain.clone());
        }
        let mut addresses = current.sender_addresses.clone();
        for address in &self.remove_addresses {
            let place = addresses.iter().position(|a| a == address).ok_or_else(|| missing(address))?;
            addresses.remove(place);
        }
        addresses.extend(self.add_addresses.iter().filter(|a| !current.sender_addresses.contains(a)).cloned());
        for (changed, path) in [
            (domains != current.sender_domains, "sender_domains"),
            (addresses != current.sender_addresses, "sender_addresses"),
        ] {
            paths.retain(|known| *known != path);
            paths.extend(changed.then_some(path));
        }
        (asked.sender_domains, asked.sender_addresses) = (domains, addresses);
        Ok(())
    }
}

impl SetArgs {
    /// Whether nothing is to be changed.
    pub(super) fn is_empty(&self) -> bool {
        let lists = self.add_domains.len()
            + self.add_exact_domains.len()
            + self.remove_domains.len()
            + self.add_addresses.len()
            + self.remove_addresses.len()
            + self.lanes.len()
            + self.pools.len();
        let numbers = [self.messages_per_minute, self.recipients_per_minute, self.max_sessions];
        let switches = [self.allow_long_lines, self.show_client_address, self.require_dkim, self.leave_signed];
        lists == 0
            && !self.no_pools
            && numbers.iter().all(Option::is_none)
            && switches.iter().all(Option::is_none)
            && self.returns.is_empty()
    }

    fn edits(&self) -> Edits {
        let domain = |exact| move |domain: &Domain| api::SenderDomain { domain: domain.to_string(), exact };
        let domains = self.add_domains.iter().map(domain(false));
        Edits {
            account: self.name.clone(),
            add_domains: domains.chain(self.add_exact_domains.iter().map(domain(true))).collect(),
            remove_domains: self.remove_domains.iter().map(Domain::to_string).collect(),
            add_addresses: self.add_addresses.iter().map(Address::to_string).collect(),
            remove_addresses: self.remove_addresses.iter().map(Address::to_string).collect(),
        }
    }

    /// The fields that do not depend on what the account is now, and their names.
    fn values(self) -> (api::Account, Vec<&'static str>) {
        let mut account = api::Account {
            lanes: self.lanes.iter().map(Lane::to_string).collect(),
            pools: self.pools,
            max_messages_per_minute: self.messages_per_minute.unwrap_or_default(),
            max_recipients_per_minute: self.recipients_per_minute.unwrap_or_default(),
            max_sessions: self.max_sessions.unwrap_or_default(),
            allow_long_lines: self.allow_long_lines.unwrap_or_default(),
            show_client_address: self.show_client_address.unwrap_or_default(),
            require_dkim: self.require_dkim.unwrap_or_default(),
            leave_signed: self.leave_signed.unwrap_or_default(),
            ..api::Account::default()
        };
        let given = [
            (!account.lanes.is_empty(), "lanes"),
            (!account.pools.is_empty() || self.no_pools, "pools"),
            (self.messages_per_minute.is_some(), "max_messages_per_minute"),
            (self.recipients_per_minute.is_some(), "max_recipients_per_minute"),
            (self.max_sessions.is_some(), "max_sessions"),
            (self.allow_long_lines.is_some(), "allow_long_lines"),
            (self.show_client_address.is_some(), "show_client_address"),
            (self.require_dkim.is_some(), "require_dkim"),
            (self.leave_signed.is_some(), "leave_signed"),
        ];
        let mut paths = self.returns.put(&mut account);
        paths.extend(given.into_iter().filter_map(|(is_given, path)| is_given.then_some(path)));
        (account, paths)
    }
}
