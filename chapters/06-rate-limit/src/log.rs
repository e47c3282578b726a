//! What a limiter prints. It is there for the moment when thousands of requests are refused in a
//! second, so it prints little.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::limiter::Wait;

/// What was printed, and what has happened since.
#[derive(Debug, Default)]
pub struct Log {
    /// How many requests were refused.
    refused: AtomicU64,
    /// Whether it was said last that there are too many clients, or that there are not.
    is_crowded: AtomicBool,
}

impl Log {
    /// Takes note of a request that came too early, and prints at 1, 10, 100 and so on how many
    /// there were. A line for each would cost more than the requests do, and hide all other lines.
    pub fn refused(&self, wait: &Wait) {
        let refused = 1 + self.refused.fetch_add(1, Ordering::Relaxed);
        if 10_u64.checked_pow(refused.ilog10()) == Some(refused) {
            println!("429 so far: {refused}, now by {wait}");
        }
    }

    /// Prints that there are more clients than can be told apart, or that there no longer are, when
    /// that is another than it was.
    pub fn crowded(&self, is_crowded: bool) {
        if self.is_crowded.swap(is_crowded, Ordering::Relaxed) != is_crowded {
            println!(
                "{}",
                if is_crowded {
                    "there are more clients than can be told apart: those who come anew share one bucket"
                } else {
                    "there is room again: each client has its own bucket"
                }
            );
        }
    }
}
