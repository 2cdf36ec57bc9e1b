//! The addresses of a host in the order in which a dial tries them, while some may still be on their way.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The most addresses that one dial tries.
const MAX_ADDRESSES: usize = 16;

/// Addresses that arrive later: those of the family that was not answered yet. None if that family fails.
pub(super) type Late = Pin<Box<dyn Future<Output = Vec<SocketAddr>>>>;

/// The addresses of a host, taken one after the other. The families alternate (RFC 8305, 4), beginning with that of the
/// first address.
pub(super) struct Addresses {
    waiting: VecDeque<SocketAddr>,
    late: Option<Late>,
    /// How many were taken.
    taken: usize,
    /// Whether the address that was taken last is one of IPv6.
    last_is_v6: Option<bool>,
}

impl Addresses {
    /// Creates the list of addresses that are known, in the order of preference within each family.
    pub(super) fn new(known: Vec<SocketAddr>, late: Option<Late>) -> Addresses {
        Addresses { waiting: known.into(), late, taken: 0, last_is_v6: None }
    }

    /// Returns whether there is an address to take.
    pub(super) fn has_next(&self) -> bool {
        !self.waiting.is_empty() && self.taken < MAX_ADDRESSES
    }

    /// Takes the next address.
    pub(super) fn take(&mut self) -> Option<SocketAddr> {
        if !self.has_next() {
            return None;
        }
        let other = self
            .last_is_v6
            .and_then(|last| self.waiting.iter().position(|addr| addr.is_ipv6() != last));
        let addr = self.waiting.remove(other.unwrap_or(0))?;
        self.taken += 1;
        self.last_is_v6 = Some(addr.is_ipv6());
        Some(addr)
    }

    /// Adds the late addresses if they have arrived. Ready when no more can arrive.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(late) = &mut self.late {
            match late.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(found) => self.waiting.extend(found),
            }
            self.late = None;
        }
        Poll::Ready(())
    }

    /// Takes the next address. Waits for late ones when there is no other.
    pub(super) async fn next(&mut self) -> Option<SocketAddr> {
        if !self.has_next() {
            poll_fn(|cx| self.poll_late(cx)).await;
        }
        self.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, last], 80))
    }

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 80))
    }

    fn all(mut addresses: Addresses) -> Vec<SocketAddr> {
        std::iter::from_fn(|| addresses.take()).collect()
    }

    #[test]
    fn families_alternate_and_the_list_is_bounded() {
        let mixed = vec![v6(1), v6(2), v6(3), v4(1), v4(2)];
        assert_eq!(all(Addresses::new(mixed, None)), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        let many = (0..100).map(v6).collect();
        assert_eq!(all(Addresses::new(many, None)).len(), 16);
    }

    #[tokio::test]
    async fn late_addresses_are_next_after_one_of_the_other_family() {
        let late: Late = Box::pin(async { vec![v4(1), v4(2)] });
        let mut addresses = Addresses::new(vec![v6(1), v6(2)], Some(late));
        assert_eq!(addresses.take(), Some(v6(1)));
        poll_fn(|cx| addresses.poll_late(cx)).await;
        assert_eq!(all(addresses), [v4(1), v6(2), v4(2)]);
    }

    #[tokio::test]
    async fn the_end_is_reached_after_the_late_ones() {
        let late: Late = Box::pin(async { vec![v4(1)] });
        let mut addresses = Addresses::new(vec![v6(1)], Some(late));
        assert_eq!(addresses.next().await, Some(v6(1)));
        assert_eq!(addresses.next().await, Some(v4(1)));
        assert_eq!(addresses.next().await, None);
    }
}
