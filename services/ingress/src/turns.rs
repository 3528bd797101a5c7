//! Turns at something costly: so many at once per client address, the others wait in line.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounded by those who hold a turn or wait for one: an address without any has no place.
#[derive(Debug)]
pub(crate) struct Turns {
    each: usize,
    lines: Mutex<HashMap<IpAddr, Line>>,
}

/// Of one address.
#[derive(Debug)]
struct Line {
    free: Arc<Semaphore>,
    /// Who holds a turn or waits for one.
    members: usize,
}

/// A turn, or the wait for one. Dropping it gives both up.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    of: &'a Turns,
    client: IpAddr,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// `each` at once for every address.
    pub(crate) fn new(each: usize) -> Self {
        Self { each, lines: Mutex::default() }
    }

    /// Waits for a turn of `client`; who came first goes first.
    pub(crate) async fn take(&self, client: IpAddr) -> Turn<'_> {
        let (free, mut turn) = self.join(client);
        // The semaphore is never closed.
        turn.permit = free.acquire_owned().await.ok();
        turn
    }

    fn join(&self, client: IpAddr) -> (Arc<Semaphore>, Turn<'_>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Line { free: Arc::new(Semaphore::new(self.each)), members: 0 };
        let line = lines.entry(client).or_insert_with(new);
        line.members += 1;
        (Arc::clone(&line.free), Turn { of: self, client, permit: None })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.permit = None;
        let mut lines = self.of.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get_mut(&self.client) {
            line.members -= 1;
            if line.members == 0 {
                lines.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::future::poll_immediate;

    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[tokio::test]
    async fn so_many_at_once_per_address_and_the_next_when_one_is_given_back() {
        let turns = Turns::new(2);
        let first = turns.take(A).await;
        let _second = turns.take(A).await;
        let mut third = pin!(turns.take(A));
        assert!(poll_immediate(&mut third).await.is_none());
        assert!(poll_immediate(pin!(turns.take(B))).await.is_some());
        drop(first);
        assert!(poll_immediate(&mut third).await.is_some());
    }

    #[tokio::test]
    async fn addresses_without_turns_have_no_place_even_if_one_gave_up_waiting() {
        let turns = Turns::new(1);
        let first = turns.take(A).await;
        {
            let mut waiting = pin!(turns.take(A));
            assert!(poll_immediate(&mut waiting).await.is_none());
        }
        assert_eq!(turns.lines.lock().unwrap()[&A].members, 1);
        drop(first);
        assert!(turns.lines.lock().unwrap().is_empty());
    }
}
