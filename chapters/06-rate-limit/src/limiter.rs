//! Decides whether a request may pass.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};
use percent_encoding::percent_decode_str;

use crate::bucket::Buckets;
use crate::client::Client;
use crate::limits::{Limit, Limits};

/// So many buckets are kept, those of all limits together: some 2 MB of them.
const CLIENTS: usize = 100_000;

/// Decides whether requests may pass. Its memory does not grow with the number of clients.
pub struct Limiter<C: Clock = MonotonicClock> {
    clock: C,
    /// Clients are known by a hash, so that a long name needs no more room than a short one. Its
    /// key is random: nobody can make up a client that has the bucket of another.
    hasher: RandomState,
    /// The longest path first.
    rules: RwLock<Arc<[Arc<Rule<C>>]>>,
}

/// A limit and its buckets.
struct Rule<C: Clock> {
    limit: Arc<Limit>,
    buckets: Buckets,
    limiter: RateLimiter<u64, Buckets, C, NoOpMiddleware<C::Instant>>,
}

impl<C: Clock> Rule<C> {
    /// A limit with room for so many buckets.
    fn new(limit: Limit, room: usize, clock: C) -> Self {
        let period = limit.rate.period();
        let quota = Quota::with_period(period)
            .expect("the period of a rate is not zero")
            .allow_burst(limit.burst);
        let buckets = Buckets::new(period, room);
        Self {
            limit: Arc::new(limit),
            limiter: RateLimiter::new(quota, buckets.clone(), clock),
            buckets,
        }
    }
}

impl Limiter {
    /// A limiter with these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_clock(limits, MonotonicClock)
    }
}

impl<C: Clock + Clone> Limiter<C> {
    /// A limiter with a clock of its own, for tests.
    #[must_use]
    pub fn with_clock(limits: Limits, clock: C) -> Self {
        let limiter = Self {
            clock,
            hasher: RandomState::new(),
            rules: RwLock::new(Arc::new([])),
        };
        limiter.set(limits);
        limiter
    }

    /// Takes other limits. A limit that is the same as before keeps its buckets, the others begin
    /// with full ones.
    pub fn set(&self, limits: Limits) {
        let before = self.rules();
        let room = CLIENTS / limits.0.len().max(1);
        let mut rules: Vec<_> = limits
            .0
            .into_iter()
            .map(|limit| {
                let same = before.iter().find(|rule| *rule.limit == limit);
                same.cloned()
                    .unwrap_or_else(|| Arc::new(Rule::new(limit, room, self.clock.clone())))
            })
            .collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.limit.path.len()));
        *self.rules.write().expect(NO_PANIC) = rules.into();
    }
}

impl<C: Clock> Limiter<C> {
    // ANCHOR: check
    /// Takes a token for a request of `client` to `path`, if the limit for that path has one left
    /// for it. A path that no limit is for is not limited.
    ///
    /// # Errors
    ///
    /// If there is none left: how long to wait.
    pub fn check(&self, client: Client<'_>, path: &str) -> Result<(), Wait> {
        let rules = self.rules();
        let rule = rule_for(path, &rules);
        self.take(client, rule)?;
        // `//orders` and `/%6frders` may be `/orders` to the app. What can be read in two ways
        // needs a token of both limits, so that no way of writing a path leads around its own.
        if let Cow::Owned(plain) = plain(path) {
            let other = rule_for(&plain, &rules);
            let is_same = |one: &Arc<_>, other| Arc::ptr_eq(one, other);
            if !rule
                .zip(other)
                .is_some_and(|(one, other)| is_same(one, other))
            {
                self.take(client, other)?;
            }
        }
        Ok(())
    }

    fn take(&self, client: Client<'_>, rule: Option<&Arc<Rule<C>>>) -> Result<(), Wait> {
        let Some(rule) = rule else {
            return Ok(());
        };
        let client = self.hasher.hash_one(client);
        rule.limiter.check_key(&client).map_err(|refused| Wait {
            time: refused.wait_time_from(self.clock.now()),
            limit: rule.limit.clone(),
        })
    }
    // ANCHOR_END: check

    /// The limit for a path, if there is one.
    pub fn limit(&self, path: &str) -> Option<Arc<Limit>> {
        rule_for(path, &self.rules()).map(|rule| rule.limit.clone())
    }

    /// Whether some clients share a bucket, because there are more than can be told apart.
    pub fn is_crowded(&self) -> bool {
        let rules = self.rules();
        rules.iter().any(|rule| rule.buckets.is_crowded())
    }

    fn rules(&self) -> Arc<[Arc<Rule<C>>]> {
        self.rules.read().expect(NO_PANIC).clone()
    }
}

const NO_PANIC: &str = "nothing panics while it holds a lock";

/// The limit for a path: that of the path itself, or of the nearest one above it.
fn rule_for<'r, C: Clock>(path: &str, rules: &'r [Arc<Rule<C>>]) -> Option<&'r Arc<Rule<C>>> {
    rules.iter().find(|rule| {
        let below = path.strip_prefix(rule.limit.path.as_str());
        rule.limit.path == "/" || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The path that this one may be another way of writing: without `%`, `.`, `..`, and without
/// slashes that separate nothing.
pub(crate) fn plain(path: &str) -> Cow<'_, str> {
    let is_plain = |path: &str| {
        path.split('/')
            .skip(1)
            .all(|part| !matches!(part, "" | "." | "..") && !part.contains('%'))
    };
    if path == "/" || is_plain(path) {
        return Cow::Borrowed(path);
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let mut parts = Vec::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    Cow::Owned(format!("/{}", parts.join("/")))
}

/// That a request must wait.
#[derive(Clone, Debug)]
pub struct Wait {
    time: Duration,
    limit: Arc<Limit>,
}

impl Wait {
    /// The time until there is a token.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.time
    }

    /// The time as `Retry-After` has it: in whole seconds, rounded up, so that who waits so long
    /// does not come too early ([RFC 9110, section
    /// 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)).
    #[must_use]
    pub fn retry_after(&self) -> u64 {
        let begun = u64::from(self.time.subsec_nanos() > 0);
        // The token may have come since it was missing.
        (self.time.as_secs() + begun).max(1)
    }

    /// The limit that the request does not keep to.
    #[must_use]
    pub fn limit(&self) -> &Limit {
        &self.limit
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the limit of {}", self.limit)
    }
}

#[cfg(test)]
mod tests;
