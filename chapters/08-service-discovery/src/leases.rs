//! Who is there, and until when it is believed: what the registry knows.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Listed, is_name};

/// As many instances are kept, of all services together: whoever announces without end fills no
/// memory, and neither do lists of them on their way to all who ask.
pub(crate) const INSTANCES: usize = 1000;

/// How long whoever has this lease waits before it announces itself again: two announcements may be
/// lost before the lease runs out. A registry that grants next to nothing, or a lease for years, is
/// not taken at its word.
#[must_use]
pub fn until_renewed(lease: Duration) -> Duration {
    (lease / 3).clamp(Duration::from_millis(10), Duration::from_secs(60))
}

/// The instances of all services, each with its lease.
pub struct Leases {
    /// How long an instance is believed to be there after it has said so.
    lease: Duration,
    /// Those that have instances. No other is kept, so that names alone fill no memory either.
    services: HashMap<String, Service>,
    /// Grows with each change. It does not begin at 0, so that nobody takes what a registry says
    /// that has been started again for what the one before said.
    version: u64,
}

#[derive(Default)]
struct Service {
    /// That of its last change.
    version: u64,
    instances: BTreeMap<String, Instance>,
}

struct Instance {
    address: SocketAddr,
    until: Instant,
}

/// What an announcement came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The instance was not known, or not at this address.
    New,
    /// Its lease begins anew.
    Renewed,
}

/// Why an announcement is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A name has characters that it may not have, or too many.
    Name,
    /// There are too many instances.
    Full,
}

impl Leases {
    /// No instances, which will have this long a lease. `version` is one that no earlier registry
    /// has come to.
    #[must_use]
    pub fn new(lease: Duration, version: u64) -> Self {
        Self {
            lease,
            services: HashMap::new(),
            version,
        }
    }

    /// How long a lease is.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    // ANCHOR: leases
    /// An instance says that it is there, for the first time or once more.
    ///
    /// # Errors
    ///
    /// If a name is none, or there are too many instances.
    pub fn announce(
        &mut self,
        service: &str,
        instance: Listed,
        now: Instant,
    ) -> Result<Announced, Refused> {
        let Listed { name, address } = instance;
        if !is_name(service) || !is_name(&name) {
            return Err(Refused::Name);
        }
        let until = now + self.lease;
        let known = self.services.get_mut(service);
        match known.and_then(|service| service.instances.get_mut(&name)) {
            Some(known) if known.address == address => {
                known.until = until;
                return Ok(Announced::Renewed);
            }
            // It has moved, and takes its own place.
            Some(_) => {}
            None => {
                let counts = self.services.values().map(|of| of.instances.len());
                if counts.sum::<usize>() >= INSTANCES {
                    return Err(Refused::Full);
                }
            }
        }
        let instance = Instance { address, until };
        let service = self.services.entry(service.to_owned()).or_default();
        service.instances.insert(name, instance);
        self.version += 1;
        service.version = self.version;
        Ok(Announced::New)
    }

    /// An instance says that it leaves. Returns whether it was there.
    pub fn withdraw(&mut self, service: &str, name: &str) -> bool {
        let Some(of) = self.services.get_mut(service) else {
            return false;
        };
        let was_there = of.instances.remove(name).is_some();
        if was_there {
            self.version += 1;
            of.version = self.version;
        }
        if of.instances.is_empty() {
            self.services.remove(service);
        }
        was_there
    }

    /// Forgets those who have not said for the time of a lease that they are there, and returns
    /// their names.
    pub fn expire(&mut self, now: Instant) -> Vec<String> {
        let mut over = Vec::new();
        for service in self.services.values_mut() {
            let before = over.len();
            service.instances.retain(|name, instance| {
                let holds = instance.until > now;
                if !holds {
                    over.push(name.clone());
                }
                holds
            });
            if over.len() > before {
                self.version += 1;
                service.version = self.version;
            }
        }
        self.services.retain(|_, of| !of.instances.is_empty());
        over
    }
    // ANCHOR_END: leases

    /// When the next lease runs out.
    #[must_use]
    pub fn next_end(&self) -> Option<Instant> {
        let instances = self.services.values().flat_map(|of| of.instances.values());
        instances.map(|instance| instance.until).min()
    }

    /// The instances of a service, by name, and the version of this list: 0 where there are none.
    #[must_use]
    pub fn list(&self, service: &str) -> (u64, Vec<Listed>) {
        let Some(service) = self.services.get(service) else {
            return (0, Vec::new());
        };
        let list = service.instances.iter().map(|(name, instance)| Listed {
            name: name.clone(),
            address: instance.address,
        });
        (service.version, list.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(5);

    fn listed(name: &str, port: u16) -> Listed {
        Listed {
            name: name.to_owned(),
            address: ([10, 0, 0, 1], port).into(),
        }
    }

    fn names(leases: &Leases) -> Vec<String> {
        let (_, list) = leases.list("orders");
        list.into_iter().map(|listed| listed.name).collect()
    }

    #[test]
    fn a_lease_holds_until_its_last_moment_and_is_renewed() {
        let (mut leases, begin) = (Leases::new(LEASE, 100), Instant::now());
        let announce =
            |leases: &mut Leases, name, at| leases.announce("orders", listed(name, 1), begin + at);
        let second = Duration::from_secs(1);
        assert_eq!(
            announce(&mut leases, "a", Duration::ZERO),
            Ok(Announced::New)
        );
        assert_eq!(announce(&mut leases, "b", 2 * second), Ok(Announced::New));
        assert_eq!(leases.next_end(), Some(begin + LEASE));
        let almost = begin + LEASE - Duration::from_nanos(1);
        assert!(leases.expire(almost).is_empty());
        assert_eq!(leases.expire(begin + LEASE), ["a"]);
        assert_eq!(
            announce(&mut leases, "b", 6 * second),
            Ok(Announced::Renewed)
        );
        assert!(leases.expire(begin + 2 * second + LEASE).is_empty());
        assert_eq!(names(&leases), ["b"]);
        assert_eq!(leases.expire(begin + 6 * second + LEASE), ["b"]);
        assert_eq!(leases.next_end(), None);
    }

    #[test]
    fn the_version_tells_of_changes_and_of_nothing_else() {
        let (mut leases, now) = (Leases::new(LEASE, 100), Instant::now());
        let version = |leases: &Leases| leases.list("orders").0;
        let announce =
            |leases: &mut Leases, port| leases.announce("orders", listed("a", port), now).map(drop);
        announce(&mut leases, 1).unwrap();
        let first = version(&leases);
        assert!(first > 100);
        announce(&mut leases, 1).unwrap();
        assert_eq!(
            version(&leases),
            first,
            "a lease that is renewed is no news"
        );
        announce(&mut leases, 2).unwrap();
        let moved = version(&leases);
        assert!(moved > first, "another address is news");
        leases.announce("bills", listed("b", 1), now).unwrap();
        assert_eq!(version(&leases), moved, "another service is not");
        assert!(leases.withdraw("orders", "a"));
        assert_eq!(version(&leases), 0, "an empty list is always the same");
        assert!(!leases.withdraw("orders", "a") && !leases.withdraw("none", "a"));
        announce(&mut leases, 2).unwrap();
        assert!(version(&leases) > moved, "who comes back is news");
    }

    #[test]
    fn of_a_service_without_instances_nothing_is_kept() {
        let (mut leases, now) = (Leases::new(LEASE, 0), Instant::now());
        for service in ["withdrawn", "over"] {
            leases.announce(service, listed("a", 1), now).unwrap();
        }
        assert!(leases.withdraw("withdrawn", "a"));
        assert_eq!(leases.services.len(), 1);
        assert_eq!(leases.expire(now + LEASE), ["a"]);
        assert_eq!(leases.services.len(), 0);
    }

    #[test]
    fn a_lease_is_renewed_three_times_and_neither_at_once_nor_in_years() {
        assert_eq!(until_renewed(3 * LEASE), LEASE);
        assert!(until_renewed(Duration::from_nanos(1)) >= Duration::from_millis(10));
        assert!(until_renewed(Duration::MAX) <= Duration::from_secs(60));
    }

    #[test]
    fn names_are_words_and_there_is_room_for_so_many() {
        let (mut leases, now) = (Leases::new(LEASE, 0), Instant::now());
        for name in ["", "a b", "a\nb", "ü", &"a".repeat(64)] {
            let refused = leases.announce("orders", listed(name, 1), now);
            assert_eq!(refused, Err(Refused::Name), "{name}");
        }
        for number in 0..INSTANCES {
            let name = format!("a{number}");
            leases.announce("orders", listed(&name, 1), now).unwrap();
        }
        let more = leases.announce("orders", listed("more", 1), now);
        assert_eq!(more, Err(Refused::Full));
        let known = leases.announce("orders", listed("a7", 1), now);
        assert_eq!(known, Ok(Announced::Renewed));
        let moved = leases.announce("orders", listed("a7", 2), now);
        assert_eq!(moved, Ok(Announced::New));
    }
}
