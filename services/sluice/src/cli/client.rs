//! The connection to a running server: gRPC over its Unix socket.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use sluice_proto::control::accounts_client::AccountsClient;
use sluice_proto::control::dkim_keys_client::DkimKeysClient;
use sluice_proto::control::queues_client::QueuesClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::CliError;

/// Longest wait for an answer; making a key behind others takes the longest.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer in octets: a page of [`PAGE`] envelopes with 100 recipients and their replies each.
const ANSWER_MAX: usize = 64 << 20;
/// Entries to ask for at a time.
pub(super) const PAGE: usize = 500;

/// To the server's accounts.
pub(super) async fn accounts(socket: &Path) -> Result<AccountsClient<Channel>, CliError> {
    Ok(AccountsClient::new(connect(socket).await?).max_decoding_message_size(ANSWER_MAX))
}

/// To the server's DKIM keys.
pub(super) async fn dkim_keys(socket: &Path) -> Result<DkimKeysClient<Channel>, CliError> {
    Ok(DkimKeysClient::new(connect(socket).await?).max_decoding_message_size(ANSWER_MAX))
}

/// To the server's queue.
pub(super) async fn queues(socket: &Path) -> Result<QueuesClient<Channel>, CliError> {
    Ok(QueuesClient::new(connect(socket).await?).max_decoding_message_size(ANSWER_MAX))
}

/// The answer, if it comes in time.
pub(super) async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, CliError> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(CliError::Broken(format!("no answer in {} s", PATIENCE.as_secs()))),
    }
}

async fn connect(socket: &Path) -> Result<Channel, CliError> {
    let unreachable = |source| CliError::Unreachable { socket: socket.to_owned(), source };
    // Opened here rather than by the channel, which would hide what the system says.
    let mut stream = Some(UnixStream::connect(socket).await.map_err(unreachable)?);
    let hand_over = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(stream.map(TokioIo::new))
    });
    // The name is a formality of HTTP: the connector decides where to.
    let channel = Endpoint::from_static("http://sluice").connect_with_connector(hand_over).await;
    channel.map_err(|e| CliError::Broken(e.to_string()))
}
