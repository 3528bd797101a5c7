//! What `sluice check-config` asks a running server.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use sluice_proto::control as api;
use tonic::Code;

use super::CliError;
use super::client::{accounts, answer};

/// Says which of the accounts that trusted networks send as do not exist, each with the key that names it. They may be
/// made later, so that this is no error. Without a running server nobody can tell.
pub(crate) async fn check_accounts(
    trusted: &[(String, Arc<str>)],
    socket: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if trusted.is_empty() {
        return Ok(());
    }
    let Ok(mut client) = accounts(socket).await else {
        let words = "Sluice does not run, so nothing is said of the accounts that trusted networks send as.";
        return Ok(writeln!(out, "{words}")?);
    };
    let mut told = BTreeSet::new();
    for (key, id) in trusted {
        let name = format!("accounts/{id}");
        match answer(client.get_account(api::GetAccountRequest { name })).await {
            Err(CliError::Refused(status)) if status.code() == Code::NotFound && told.insert(id) => {
                let words = "its clients are refused until there is";
                writeln!(out, "There is no account {id}, which {key} names: {words}.")?;
            }
            Ok(_) | Err(CliError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
