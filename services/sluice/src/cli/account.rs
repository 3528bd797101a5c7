//! `sluice account`: who may send.

mod rules;
mod set;
mod show;

use std::io::{BufRead, Read};
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::Value;
use sluice_mail::{Address, Domain, Lane};
use sluice_proto::control as api;

use super::client::{self, PAGE, answer};
use super::{CliError, Terminal};
use rules::{ReturnArgs, lane};
use set::SetArgs;
use show::{table, to_json, write_block};

/// Longest line that is read as a password in octets; the server says what is too long for it.
const PASSWORD_LINE_MAX: u64 = 4096;

const ADD_EXAMPLES: &str = "\
Examples:
  sluice account add shop --domain shop.example
  sluice account add news --domain news.example --lane bulk --dsn off --bounce-after 1d
  sluice account add app --address app@example.org --retry-after 1m,5m,15m,1h --password-stdin <password.txt";

/// What is to be done with accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an account; its password is shown once, unless it is given
    #[command(visible_alias = "create", after_help = ADD_EXAMPLES)]
    Add(Box<AddArgs>),
    /// Change what an account may do; what is not named stays as it is
    #[command(after_help = set::EXAMPLES)]
    Set(Box<SetArgs>),
    /// Show all accounts, one in a line
    List(ListArgs),
    /// Show everything about an account
    Show(ShowArgs),
    /// Take an account away; mail that it has submitted is still delivered
    Remove(NameArgs),
    /// Replace an account's password; the old one ends at once
    SetPassword(PasswordArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Name of the account and of its log-in: letters a-z, digits, '.', '_' and '-'
    name: String,
    /// Domain that it may send from, those below it included; may be repeated
    #[arg(long = "domain", value_name = "DOMAIN", value_parser = Domain::parse)]
    domains: Vec<Domain>,
    /// Domain that it may send from, those below it not included; may be repeated
    #[arg(long = "exact-domain", value_name = "DOMAIN", value_parser = Domain::parse)]
    exact_domains: Vec<Domain>,
    /// Single address that it may send from; may be repeated
    #[arg(long = "address", value_name = "ADDRESS", value_parser = Address::parse)]
    addresses: Vec<Address>,
    /// Lane that it may use, transactional or bulk, the first by default; may be repeated [default: transactional]
    #[arg(long = "lane", value_name = "LANE", value_parser = lane)]
    lanes: Vec<Lane>,
    /// Pool that it may use, the first by default; may be repeated
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<String>,
    /// Messages that it may submit a minute; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    messages_per_minute: u32,
    /// Recipients that it may submit to a minute; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    recipients_per_minute: u32,
    /// Sessions that it may have at the same time; 0 is no limit of its own
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    max_sessions: u32,
    /// Pass lines over 998 octets unchanged instead of refusing them
    #[arg(long)]
    allow_long_lines: bool,
    /// Name the client's address in the Received field
    #[arg(long)]
    show_client_address: bool,
    /// Refuse mail whose From domain no DKIM key fits
    #[arg(long)]
    require_dkim: bool,
    /// Leave mail that comes with a DKIM-Signature at that, instead of signing it in addition
    #[arg(long)]
    leave_signed: bool,
    #[command(flatten)]
    returns: ReturnArgs,
    #[command(flatten)]
    password: PasswordSource,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Name of the account
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// Name of the account
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// Name of the account
    name: String,
    /// Log-in to change [default: the one called like the account]
    #[arg(long, value_name = "LOGIN")]
    login: Option<String>,
    #[command(flatten)]
    password: PasswordSource,
}

/// There is no `--password`: other users of the machine can read a command line.
#[derive(Debug, Args)]
struct PasswordSource {
    /// Read the password from a line of standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
}

impl Command {
    /// The mistake of a command line that asks for no change at all.
    pub(super) fn changes_nothing(&self) -> bool {
        match self {
            Self::Set(args) => args.is_empty(),
            Self::Add(_) | Self::List(_) | Self::Show(_) | Self::Remove(_) | Self::SetPassword(_) => false,
        }
    }
}

/// Does `command` on the server at `socket`.
pub(super) async fn run(command: Command, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    match command {
        Command::Add(args) => add(*args, socket, terminal).await,
        Command::Set(args) => set::set(*args, socket, terminal).await,
        Command::Show(args) => show(&args, socket, terminal).await,
        Command::List(args) => list(&args, socket, terminal).await,
        Command::Remove(args) => remove(args, socket, terminal).await,
        Command::SetPassword(args) => set_password(args, socket, terminal).await,
    }
}

async fn add(args: AddArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let password = args.password.take(terminal.stdin)?;
    let login = args.name.clone();
    let silent = args.domains.is_empty() && args.exact_domains.is_empty() && args.addresses.is_empty();
    let request = api::CreateAccountRequest {
        account_id: login.clone(),
        password: password.text.clone(),
        account: Some(args.account()),
    };
    answer(client::accounts(socket).await?.create_account(request)).await?;
    writeln!(terminal.stdout, "Account {login} is made.")?;
    if silent {
        writeln!(
            terminal.stdout,
            "It may not send yet: it has no domain and no address. `sluice account set {login} --add-domain DOMAIN` \
             gives it one."
        )?;
    }
    password.show(&login, terminal)
}

async fn list(args: &ListArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let accounts = all(socket).await?;
    if args.json {
        let values: Vec<Value> = accounts.iter().map(to_json).collect();
        writeln!(terminal.stdout, "{}", Value::from(values))?;
    } else if accounts.is_empty() {
        writeln!(terminal.stdout, "There is no account. Make one with `sluice account add NAME --domain DOMAIN`.")?;
    } else {
        table(&accounts).write(terminal.stdout)?;
    }
    Ok(())
}

async fn show(args: &ShowArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let request = api::GetAccountRequest { name: resource(&args.name) };
    let account = answer(client::accounts(socket).await?.get_account(request)).await?;
    match args.json {
        true => writeln!(terminal.stdout, "{}", to_json(&account))?,
        false => write_block(&account, terminal.stdout)?,
    }
    Ok(())
}

async fn remove(args: NameArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let request = api::DeleteAccountRequest { name: resource(&args.name) };
    answer(client::accounts(socket).await?.delete_account(request)).await?;
    Ok(writeln!(terminal.stdout, "Account {} is removed.", args.name)?)
}

async fn set_password(args: PasswordArgs, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let password = args.password.take(terminal.stdin)?;
    let login = args.login.unwrap_or_else(|| args.name.clone());
    let request = api::SetPasswordRequest {
        name: resource(&args.name),
        credential: login.clone(),
        password: password.text.clone(),
    };
    answer(client::accounts(socket).await?.set_password(request)).await?;
    writeln!(terminal.stdout, "The password of {login} is changed.")?;
    password.show(&login, terminal)
}

/// Every account, page by page.
async fn all(socket: &Path) -> Result<Vec<api::Account>, CliError> {
    let mut client = client::accounts(socket).await?;
    let mut accounts = Vec::new();
    let mut page_token = String::new();
    loop {
        let page_size = i32::try_from(PAGE).unwrap_or(i32::MAX);
        let page = answer(client.list_accounts(api::ListAccountsRequest { page_size, page_token })).await?;
        accounts.extend(page.accounts);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(accounts);
        }
    }
}

fn resource(id: &str) -> String {
    format!("accounts/{id}")
}

fn id(account: &api::Account) -> &str {
    account.name.strip_prefix("accounts/").unwrap_or(&account.name)
}

/// A password on its way to the server. Without `Debug`, so that it is in no log.
struct Password {
    text: String,
    /// Made here, so nobody has seen it yet.
    made: bool,
}

impl PasswordSource {
    fn take(&self, stdin: &mut dyn BufRead) -> Result<Password, CliError> {
        if !self.password_stdin {
            return Ok(Password { text: sluice_registry::generate_password(), made: true });
        }
        let mut line = Vec::new();
        stdin.take(PASSWORD_LINE_MAX).read_until(b'\n', &mut line).map_err(CliError::Input)?;
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match std::str::from_utf8(line) {
            Ok("") => Err(CliError::Password("expected the password as one line on standard input")),
            Ok(text) => Ok(Password { text: text.to_owned(), made: false }),
            Err(_) => Err(CliError::Password("the password is not UTF-8")),
        }
    }
}

impl Password {
    /// Shows the password, if nobody has seen it.
    fn show(&self, login: &str, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
        if self.made {
            writeln!(terminal.stdout, "Its password is shown this once:\n")?;
            writeln!(terminal.stdout, "  user      {login}\n  password  {}", self.text)?;
        }
        Ok(())
    }
}

impl AddArgs {
    fn account(self) -> api::Account {
        let domain = |exact| move |domain: Domain| api::SenderDomain { domain: domain.to_string(), exact };
        let domains = self.domains.into_iter().map(domain(false));
        let mut account = api::Account {
            sender_domains: domains.chain(self.exact_domains.into_iter().map(domain(true))).collect(),
            sender_addresses: self.addresses.iter().map(Address::to_string).collect(),
            lanes: self.lanes.iter().map(Lane::to_string).collect(),
            pools: self.pools,
            max_messages_per_minute: self.messages_per_minute,
            max_recipients_per_minute: self.recipients_per_minute,
            max_sessions: self.max_sessions,
            allow_long_lines: self.allow_long_lines,
            show_client_address: self.show_client_address,
            require_dkim: self.require_dkim,
            leave_signed: self.leave_signed,
            ..api::Account::default()
        };
        self.returns.put(&mut account);
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[u8]) -> Result<String, String> {
        let mut given = given;
        let password = PasswordSource { password_stdin: true }.take(&mut given);
        password.map(|p| p.text).map_err(|e| e.to_string())
    }

    #[test]
    fn a_password_is_one_line() {
        for given in [&b"new secret\n"[..], b"new secret\r\n", b"new secret", b"new secret\nmore\n"] {
            assert_eq!(read(given).unwrap(), "new secret");
        }
        assert_eq!(read(b" a \n").unwrap(), " a ", "blanks are part of it");
        assert!(read(b"").is_err() && read(b"\n").is_err() && read(b"\xff\n").is_err());
    }

    #[test]
    fn a_password_is_made_when_none_is_given() {
        let made = PasswordSource { password_stdin: false }.take(&mut &b"unread"[..]).ok().unwrap();
        assert!(made.made && made.text.len() >= 20);
    }
}
