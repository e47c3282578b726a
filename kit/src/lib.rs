//! What every program of the workbook needs before its own work begins: its settings, and the
//! signal to end.
//!
//! Programs take their settings from environment variables, because that is what a Pod manifest
//! can set without a file. The same name means the same in every chapter.

mod probe;

use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, exit};
use std::time::Duration;

pub use probe::{asked_to_probe, probe};
use tokio::signal::unix::{SignalKind, signal};

/// Reads the setting `name` from the environment, or takes `default` where it is not set.
///
/// A value that cannot be understood ends the program with exit code 2 and one line that names
/// the variable, the value and what would do: a sidecar that starts with half a configuration
/// is harder to find than one that does not start.
pub fn setting<T: Setting>(name: &str, default: &str) -> T {
    understood(
        name,
        std::env::var(name).unwrap_or_else(|_| default.to_owned()),
    )
}

/// Reads the setting `name`, which may be left out. An empty value counts as left out.
pub fn optional_setting<T: Setting>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(understood(name, value))
}

fn understood<T: Setting>(name: &str, value: String) -> T {
    match T::parse(&value) {
        Ok(setting) => setting,
        Err(why) => {
            println!(
                "{name}={value:?} cannot be understood ({why}); {} would do",
                T::EXAMPLE
            );
            exit(2);
        }
    }
}

/// A type that a setting can have.
pub trait Setting: Sized {
    /// A value that would do, for the message about one that does not.
    const EXAMPLE: &'static str;

    /// Reads the value of an environment variable.
    ///
    /// # Errors
    ///
    /// Says in a few words why the value is not one of this type.
    fn parse(value: &str) -> Result<Self, String>;
}

fn in_words(error: impl Display) -> String {
    error.to_string()
}

/// A time span with its unit, as in `INTERVAL=15s`. Zero is refused: as a pause between two
/// requests it would never leave the processor alone.
impl Setting for Duration {
    const EXAMPLE: &'static str = "15s or 50ms";

    fn parse(value: &str) -> Result<Self, String> {
        match humantime::parse_duration(value).map_err(in_words)? {
            Duration::ZERO => Err("it must be longer than nothing".to_owned()),
            duration => Ok(duration),
        }
    }
}

/// An address to listen on, as in `LISTEN=127.0.0.1:7979`.
impl Setting for SocketAddr {
    const EXAMPLE: &'static str = "127.0.0.1:7979";

    fn parse(value: &str) -> Result<Self, String> {
        value.parse().map_err(in_words)
    }
}

/// A file, as in `LOG_PATH=/var/log/app/access.log`.
impl Setting for PathBuf {
    const EXAMPLE: &'static str = "/var/log/app/access.log";

    fn parse(value: &str) -> Result<Self, String> {
        if value.is_empty() {
            Err("it is empty".to_owned())
        } else {
            Ok(value.into())
        }
    }
}

/// A count of bytes, as in `ROTATE_AT=4096`.
impl Setting for u64 {
    const EXAMPLE: &'static str = "4096";

    fn parse(value: &str) -> Result<Self, String> {
        value.parse().map_err(in_words)
    }
}

/// What to call, as in `UPSTREAM=http://127.0.0.1:9000`.
#[cfg(feature = "url")]
impl Setting for url::Url {
    const EXAMPLE: &'static str = "http://127.0.0.1:9000";

    fn parse(value: &str) -> Result<Self, String> {
        let url = Self::parse(value).map_err(in_words)?;
        match url.scheme() {
            "http" => Ok(url),
            other => Err(format!("this program speaks http, not {other}")),
        }
    }
}

// ANCHOR: told-to-end
/// Returns when the program is told to end: SIGTERM, which the kubelet sends, or SIGINT, which
/// Ctrl-C sends.
///
/// In a container the program is PID 1, and the kernel delivers no signal to PID 1 that it has
/// no handler for: without this, SIGTERM would do nothing and the kubelet would kill the
/// container after its grace period. The handlers stand from the call on, not from the first
/// poll, so that no signal is lost between the two.
///
/// # Panics
///
/// If the kernel refuses a signal handler, which it never does for these two signals.
pub fn told_to_end() -> impl Future<Output = ()> {
    let mut handlers = [SignalKind::terminate(), SignalKind::interrupt()]
        .map(|kind| signal(kind).expect("a handler for SIGTERM and SIGINT can always be set"));
    async move {
        let [terminate, interrupt] = &mut handlers;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
// ANCHOR_END: told-to-end

/// How a program ends: where it failed, one line says why.
pub fn exit_code<E: Display>(ended: Result<(), E>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What lies at the bottom of an error: `Connection refused`, not `error sending request`.
pub fn cause<'e>(mut error: &'e (dyn Error + 'static)) -> impl Display + use<'e> {
    while let Some(deeper) = error.source() {
        error = deeper;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(Duration::parse("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(Duration::parse("15s"), Ok(Duration::from_secs(15)));
        assert!(Duration::parse("15").is_err());
        assert!(Duration::parse("0s").is_err());
    }

    #[test]
    fn the_cause_is_at_the_bottom() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = std::io::Error::other(std::io::Error::other(refused));
        assert_eq!(cause(&error).to_string(), "connection refused");
    }

    #[test]
    fn an_address_has_a_port() {
        assert!(SocketAddr::parse("127.0.0.1:7979").is_ok());
        assert!(SocketAddr::parse("127.0.0.1").is_err());
    }
}
