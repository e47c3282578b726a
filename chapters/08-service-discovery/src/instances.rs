//! The instances that the discovering sidecar knows, and which of them gets the next request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use output_interceptor::Upstream;
use tokio::time::Instant;

use crate::Listed;

/// No instance is passed over for longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// An instance that requests can be sent to.
pub struct Instance {
    /// What the registry says of it.
    pub listed: Listed,
    /// Its connections.
    pub upstream: Upstream,
    /// How many requests wait for its answer.
    under_way: AtomicUsize,
    health: Mutex<Health>,
}

/// What is known of an instance from the requests that it was sent.
#[derive(Default)]
struct Health {
    /// How many trials have failed since it answered last.
    failures: u32,
    /// Until when it gets no requests, if others can have them.
    passed_over: Option<Instant>,
}

/// A request that waits for an answer, as long as this is held.
pub struct UnderWay(Arc<Instance>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Instance {
    /// Counts a request that is sent to it.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    // ANCHOR: health
    /// It has answered. Returns whether it had not before.
    pub fn has_answered(&self) -> bool {
        let before = std::mem::take(&mut *lock(&self.health));
        before.failures > 0
    }

    /// It has not answered. Passes it over for some time, twice as long with each trial that fails,
    /// and returns for how long; or nothing, if it is passed over already.
    pub fn has_failed(&self, first: Duration, now: Instant) -> Option<Duration> {
        let mut health = lock(&self.health);
        if health.failures > 0 && health.passed_over.is_some_and(|until| until > now) {
            return None;
        }
        let pause = first.saturating_mul(1 << health.failures.min(16));
        let pause = pause.min(LONGEST);
        health.failures += 1;
        health.passed_over = Some(now + pause);
        Some(pause)
    }
    // ANCHOR_END: health
}

/// The list, as the sidecar works with it.
pub struct Instances {
    all: Vec<Arc<Instance>>,
    /// Where the search for the next one begins, so that equals take turns.
    next: usize,
    /// How long an instance may take to answer.
    timeout: Duration,
}

impl Instances {
    /// No instance; each may take this long to answer.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self {
            all: Vec::new(),
            next: 0,
            timeout,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    // ANCHOR: update
    /// Takes over a list from the registry. Returns the names, if they are others than before.
    ///
    /// An empty list is no news to act upon: that all instances left at once is less likely than
    /// that the registry has forgotten them. Those that are gone will be found not to answer.
    pub fn update(&mut self, list: BTreeSet<Listed>) -> Option<Vec<String>> {
        let known = self.all.iter().map(|instance| (&instance.listed, instance));
        let known = BTreeMap::from_iter(known);
        if list.is_empty() || list.iter().eq(known.keys().copied()) {
            return None;
        }
        // Whoever was there keeps its connections, and what is known of it.
        let all = list.iter().map(|listed| match known.get(listed) {
            Some(known) => Arc::clone(known),
            None => Arc::new(self.instance(listed)),
        });
        self.all = all.collect();
        let names = self.all.iter().map(|instance| instance.listed.name.clone());
        Some(names.collect())
    }
    // ANCHOR_END: update

    fn instance(&self, listed: &Listed) -> Instance {
        Instance {
            listed: listed.clone(),
            upstream: Upstream::new(listed.address.into(), self.timeout),
            under_way: AtomicUsize::new(0),
            health: Mutex::default(),
        }
    }

    // ANCHOR: choose
    /// The instance for the next request, of those where it has not been tried: the one that works
    /// on the fewest. Instances that do not answer are passed over, unless there are no others.
    pub fn choose(
        &mut self,
        tried: &[Arc<Instance>],
        trial: Duration,
        now: Instant,
    ) -> Option<Arc<Instance>> {
        let count = self.all.len();
        let turn = (0..count).map(|step| &self.all[(self.next + step) % count]);
        let untried = turn.filter(|one| !tried.iter().any(|other| Arc::ptr_eq(one, other)));
        let best = untried.min_by_key(|one| {
            let passed_over = lock(&one.health).passed_over;
            let waits = passed_over.is_some_and(|until| until > now);
            (waits, one.under_way.load(Ordering::Relaxed))
        });
        let best = best?.clone();
        let mut health = lock(&best.health);
        if health.failures > 0 {
            // Its time is over: one request tries it, and no other until that is decided.
            health.passed_over = Some(now + trial);
        }
        drop(health);
        self.next = self.next.wrapping_add(1) % count;
        Some(best)
    }
    // ANCHOR_END: choose
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds a lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn listed(name: &str) -> Listed {
        Listed {
            name: name.to_owned(),
            address: ([10, 0, 0, 1], 8080).into(),
        }
    }

    fn instances(names: &[&str]) -> Instances {
        let mut instances = Instances::new(SECOND);
        let list = names.iter().map(|name| listed(name)).collect();
        let told = instances.update(list).expect("news");
        assert_eq!(told, names);
        instances
    }

    fn choose(instances: &mut Instances, now: Instant) -> Arc<Instance> {
        instances.choose(&[], SECOND, now).expect("there is one")
    }

    #[test]
    fn whoever_works_on_the_fewest_gets_the_next_and_equals_take_turns() {
        let (mut instances, now) = (instances(&["a", "b", "c"]), Instant::now());
        let mut names = Vec::new();
        let mut under_way = Vec::new();
        for _ in 0..6 {
            let one = choose(&mut instances, now);
            names.push(one.listed.name.clone());
            under_way.push((one.listed.name.clone(), one.begin()));
        }
        names.sort();
        assert_eq!(names, ["a", "a", "b", "b", "c", "c"]);
        under_way.retain(|(name, _)| name != "b");
        for _ in 0..2 {
            let one = choose(&mut instances, now);
            assert_eq!(one.listed.name, "b");
            under_way.push(("b".to_owned(), one.begin()));
        }
    }

    #[test]
    fn who_fails_is_passed_over_and_tried_again_by_one_request() {
        let (mut instances, now) = (instances(&["a", "b"]), Instant::now());
        let a = choose(&mut instances, now);
        assert_eq!(a.listed.name, "a");
        assert_eq!(a.has_failed(SECOND, now), Some(SECOND));
        assert_eq!(
            a.has_failed(SECOND, now),
            None,
            "others that were under way"
        );
        let name = |instances: &mut Instances, now| choose(instances, now).listed.name.clone();
        for _ in 0..4 {
            assert_eq!(name(&mut instances, now), "b");
        }
        // The one that tries it is still under way.
        let later = now + SECOND;
        let tried = [
            name(&mut instances, later),
            name(&mut instances, later),
            name(&mut instances, later),
        ];
        let times = tried.iter().filter(|name| *name == "a").count();
        assert_eq!(times, 1, "{tried:?}");
        // That trial ends after its own time, and fails.
        let end = later + SECOND;
        assert_eq!(a.has_failed(SECOND, end), Some(2 * SECOND));
        assert_eq!(name(&mut instances, end + SECOND), "b");
        assert!(a.has_answered());
        assert!(!a.has_answered());
        let again = [name(&mut instances, end), name(&mut instances, end)];
        assert!(again.contains(&"a".to_owned()), "{again:?}");
    }

    #[test]
    fn where_all_fail_they_are_tried_all_the_same_and_each_once() {
        let (mut instances, now) = (instances(&["a", "b"]), Instant::now());
        let mut tried = Vec::new();
        while let Some(one) = instances.choose(&tried, SECOND, now) {
            one.has_failed(SECOND, now);
            tried.push(one);
        }
        assert_eq!(tried.len(), 2);
        assert!(instances.choose(&[], SECOND, now).is_some());
    }

    #[test]
    fn an_empty_list_is_no_news_and_who_stays_is_the_same() {
        let mut instances = instances(&["a", "b"]);
        assert_eq!(instances.update(BTreeSet::new()), None);
        assert_eq!(instances.update([listed("b"), listed("a")].into()), None);
        let before = instances.all.clone();
        let told = instances.update([listed("b"), listed("c")].into());
        assert_eq!(told.expect("news"), ["b", "c"]);
        assert!(Arc::ptr_eq(&before[1], &instances.all[0]));
        // The same name at another address is another instance.
        let mut moved = listed("b");
        moved.address.set_port(9);
        assert!(instances.update([moved, listed("c")].into()).is_some());
        assert!(!Arc::ptr_eq(&before[1], &instances.all[0]));
    }
}
