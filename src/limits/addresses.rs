//! How often one address may try: to connect, and to be somebody it is not.
//!
//! An IPv6 address counts as its /64, which is what one customer has. Memory is
//! bounded: of more addresses than [`CAPACITY`] the ones that were seen least are
//! forgotten, and begin anew.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;

/// Addresses that are remembered, each some 200 bytes.
const CAPACITY: u64 = 100_000;

/// A bucket is full again after this time, and need not be remembered.
const MINUTE: Duration = Duration::from_secs(60);

/// The limits of all addresses. One per node.
#[derive(Debug)]
pub struct Addresses {
    attempts: Option<Rates>,
    failures: Option<Rates>,
    /// Those that failed too often.
    blocked: Cache<Network, ()>,
}

/// A token bucket for each address, which holds what a minute allows.
#[derive(Debug)]
pub struct Rates {
    per_minute: NonZeroU32,
    buckets: Cache<Network, Arc<DefaultDirectRateLimiter>>,
}

/// What counts as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl Addresses {
    /// So many connections, and so many failed authorisations, per minute;
    /// absent: no limit.
    #[must_use]
    pub fn new(attempts_per_minute: Option<u32>, failures_per_minute: Option<u32>) -> Self {
        Self {
            attempts: attempts_per_minute.and_then(|most| Rates::new(most, CAPACITY)),
            failures: failures_per_minute.and_then(|most| Rates::new(most, CAPACITY)),
            blocked: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(MINUTE)
                .build(),
        }
    }

    /// Whether one more client may come from `address`.
    #[must_use]
    pub fn may_connect(&self, address: IpAddr) -> bool {
        let network = Network::of(address);
        !self.blocked.contains_key(&network)
            && self
                .attempts
                .as_ref()
                .is_none_or(|attempts| attempts.take(address))
    }

    /// Whether anything that `address` signs is looked at; not for a minute
    /// after it failed too often.
    #[must_use]
    pub fn may_authorize(&self, address: IpAddr) -> bool {
        self.failures.is_none() || !self.blocked.contains_key(&Network::of(address))
    }

    /// Notes that a key or a signature was wrong.
    pub fn note_failure(&self, address: IpAddr) {
        let network = Network::of(address);
        if self
            .failures
            .as_ref()
            .is_some_and(|failures| !failures.take(address))
        {
            tracing::debug!(%address, "too many wrong keys or signatures; blocked for a minute");
            self.blocked.insert(network, ());
        }
    }
}

impl Rates {
    /// So many a minute for each address, and one at least.
    #[must_use]
    pub fn per_minute(most: u32) -> Self {
        Self::new(most.max(1), CAPACITY).expect("one is above zero")
    }

    fn new(per_minute: u32, capacity: u64) -> Option<Self> {
        Some(Self {
            per_minute: NonZeroU32::new(per_minute)?,
            buckets: Cache::builder()
                .max_capacity(capacity)
                .time_to_idle(MINUTE)
                .build(),
        })
    }

    /// Whether `address` may do it once more.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> bool {
        let bucket = self.buckets.get_with(Network::of(address), || {
            Arc::new(RateLimiter::direct(Quota::per_minute(self.per_minute)))
        });
        bucket.check().is_ok()
    }
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                Self(Ipv6Addr::from_bits(network).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_a_bucket_of_its_own() {
        let addresses = Addresses::new(Some(2), None);

        assert!(addresses.may_connect(ip("192.0.2.1")));
        assert!(addresses.may_connect(ip("::ffff:192.0.2.1")));
        assert!(!addresses.may_connect(ip("192.0.2.1")));
        assert!(addresses.may_connect(ip("192.0.2.2")));
    }

    #[test]
    fn a_customer_with_ipv6_has_one_network() {
        let addresses = Addresses::new(Some(1), None);

        assert!(addresses.may_connect(ip("2001:db8:0:1::1")));
        assert!(!addresses.may_connect(ip("2001:db8:0:1:ffff::2")));
        assert!(addresses.may_connect(ip("2001:db8:0:2::1")));
    }

    #[test]
    fn who_fails_too_often_is_not_looked_at_any_more() {
        let addresses = Addresses::new(None, Some(2));
        let (guesser, other) = (ip("192.0.2.1"), ip("192.0.2.2"));

        for _ in 0..2 {
            addresses.note_failure(guesser);
            assert!(addresses.may_authorize(guesser));
        }
        addresses.note_failure(guesser);

        assert!(!addresses.may_authorize(guesser));
        assert!(!addresses.may_connect(guesser));
        assert!(addresses.may_authorize(other) && addresses.may_connect(other));
    }

    /// What holds of fifty times its room holds of any number.
    #[test]
    fn any_number_of_addresses_takes_bounded_room() {
        let buckets = Rates::new(1, 1_000).unwrap();
        for number in 0..50_000u32 {
            let address = IpAddr::V4(number.into());
            let _ = buckets.take(address);
        }

        buckets.buckets.run_pending_tasks();

        assert!(buckets.buckets.entry_count() <= 1_000);
    }

    #[test]
    fn nothing_is_limited_unless_it_is_set() {
        let addresses = Addresses::new(None, None);
        for _ in 0..1_000 {
            addresses.note_failure(ip("192.0.2.1"));
            assert!(addresses.may_connect(ip("192.0.2.1")));
        }
        assert!(addresses.may_authorize(ip("192.0.2.1")));
    }
}
