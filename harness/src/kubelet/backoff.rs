//! How long a container that ended waits before it is started again.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// After so long without a restart the count is forgotten.
const QUIET: Duration = Duration::from_secs(600);

/// The pauses between restarts of one container: the first restart comes at once, those after it
/// 10, 20, 40 … 300 seconds after the end.
///
/// Source: <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restarts>.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Option<(Instant, Duration)>,
}

impl Backoff {
    /// The pause before a container that ended at `end` is started again.
    pub(super) fn pause(&mut self, end: Instant) -> Duration {
        let known = self
            .last
            .filter(|(updated, _)| end.duration_since(*updated) <= QUIET);
        let (pause, next) = match known {
            None => (Duration::ZERO, FIRST),
            Some((_, pause)) => (pause, (pause * 2).min(LONGEST)),
        };
        self.last = Some((end + pause, next));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_forgotten() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = backoff.pause(now);
            pauses.push(pause.as_secs());
            now += pause + Duration::from_secs(1);
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
        now += Duration::from_secs(599);
        assert_eq!(
            backoff.pause(now).as_secs(),
            300,
            "600 quiet seconds are not more than ten minutes"
        );
        now += Duration::from_secs(300 + 601);
        assert_eq!(backoff.pause(now).as_secs(), 0);
    }
}
