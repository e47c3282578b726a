//! The buckets of one limit, a bucket for each client, in a table that has an end.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use governor::nanos::Nanos;
use governor::state::StateStore;

/// How often a table that is full looks for buckets that it may drop.
const SWEEP: Duration = Duration::from_secs(1);

/// The buckets of a limit, by client.
///
/// A bucket is the moment at which it will be full again, in time since the limit began. That is
/// all that governor needs to know of it: a request moves that moment on by the time of one
/// token, and is refused where it would lie further ahead than the whole bucket takes to fill
/// (the *generic cell rate algorithm*).
#[derive(Clone)]
pub(crate) struct Buckets {
    /// The time of one token.
    period: Nanos,
    table: Arc<Mutex<Table>>,
}

struct Table {
    full_at: HashMap<u64, Nanos, BuildHasherDefault<Hashed>>,
    /// So many clients have a bucket of their own.
    capacity: usize,
    /// The bucket of all for whom there was no room.
    others: Option<Nanos>,
    /// Whether there was no room for the client that was the last to come anew.
    is_crowded: bool,
    /// When to look again for room.
    sweep_at: Nanos,
}

impl Buckets {
    pub(crate) fn new(period: Duration, capacity: usize) -> Self {
        Self {
            period: period.into(),
            table: Arc::new(Mutex::new(Table {
                full_at: HashMap::default(),
                capacity,
                others: None,
                is_crowded: false,
                sweep_at: Nanos::new(0),
            })),
        }
    }

    /// Whether clients share a bucket because there is no room for more of them.
    pub(crate) fn is_crowded(&self) -> bool {
        self.table().is_crowded
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("nothing panics while it holds a lock")
    }
}

// ANCHOR: room
impl StateStore for Buckets {
    type Key = u64;

    /// Lets governor decide by the client's bucket, and keeps what it makes of it.
    ///
    /// No bucket is dropped that is not full: that would give its client new tokens, and whoever
    /// can come as a hundred thousand clients could so wash away the debts of all others. Where
    /// there is no room left, those who come anew share one bucket, and those who have one of
    /// their own notice nothing.
    fn measure_and_replace<T, F, E>(&self, client: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut table = self.table();
        if let Some(full_at) = table.full_at.get_mut(client) {
            let (passed, then) = decide(Some(*full_at))?;
            *full_at = then;
            return Ok(passed);
        }
        let (passed, then) = decide(None)?;
        if table.full_at.len() >= table.capacity {
            // A full bucket less one token: a token ago, it is now.
            table.sweep(then.saturating_sub(self.period));
        }
        table.is_crowded = table.full_at.len() >= table.capacity;
        if table.is_crowded {
            let (passed, then) = decide(table.others)?;
            table.others = Some(then);
            return Ok(passed);
        }
        table.full_at.insert(*client, then);
        Ok(passed)
    }
}

impl Table {
    /// Drops the buckets that are full, which are as good as none.
    fn sweep(&mut self, now: Nanos) {
        if now >= self.sweep_at {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.sweep_at = now + SWEEP;
        }
    }
}
// ANCHOR_END: room

/// Keys are hashes already, made with a key that nobody else knows.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are of u64 alone");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
