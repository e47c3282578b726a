//! Limits, and the file that they are in.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// How long an empty bucket may take to be full again, at most.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// All limits, no two of the same path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits(pub(crate) Vec<Limit>);

// ANCHOR: limit
/// What each client may ask of a path, and of all paths below it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The path, such as `/orders`; `/` is that of all requests that no other limit is for.
    pub path: String,
    /// How fast tokens come, such as `10/s`.
    pub rate: Rate,
    /// How many tokens the bucket holds: so many requests may come at once.
    pub burst: NonZeroU32,
}
// ANCHOR_END: limit

/// How fast tokens come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// As the file has it.
    text: String,
    /// The time from one token to the next, rounded up to nanoseconds: a client gets no more than
    /// it was promised.
    period: Duration,
}

impl Rate {
    /// The time from one token to the next.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    fn parse(text: &str) -> Option<Self> {
        let (count, span) = text.split_once('/')?;
        let count: NonZeroU32 = count.trim().parse().ok()?;
        let span = span.trim();
        // `10/s` and `1/10s` alike.
        let span = if span.starts_with(|first: char| first.is_ascii_digit()) {
            humantime::parse_duration(span)
        } else {
            humantime::parse_duration(&format!("1{span}"))
        };
        let period = span.ok()?.as_nanos().div_ceil(count.get().into());
        let period = Duration::from_nanos(u64::try_from(period).ok()?);
        (!period.is_zero()).then(|| Self {
            text: text.to_owned(),
            period,
        })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is no rate; \"10/s\" or \"1/min\" would do"
            ))
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, rate, burst) = (&self.path, &self.rate.text, self.burst);
        write!(formatter, "{path}: {rate}, burst {burst}")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "limit")]
    limits: Vec<Limit>,
}

impl Limits {
    /// Reads limits from the text of a file, which is TOML.
    ///
    /// # Errors
    ///
    /// Says in one line what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let File { limits } = toml::from_str(text).map_err(|error| {
            let what = error.message().replace('\n', ", ");
            match error.span() {
                Some(span) => {
                    let line = text[..span.start].matches('\n').count() + 1;
                    format!("line {line}: {what}")
                }
                None => what,
            }
        })?;
        // A file that is just being written is empty for a moment. That must not lift all limits.
        if limits.is_empty() {
            return Err("it has no [[limit]]".to_owned());
        }
        for (index, limit) in limits.iter().enumerate() {
            limit.check()?;
            if limits[..index].iter().any(|other| other.path == limit.path) {
                return Err(format!("{:?} has two limits", limit.path));
            }
        }
        Ok(Self(limits))
    }

    /// The limits, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.0.iter()
    }
}

impl Limit {
    fn check(&self) -> Result<(), String> {
        let path = &self.path;
        if !path.starts_with('/') {
            return Err(format!("the path {path:?} does not begin with /"));
        }
        let plain = crate::limiter::plain(path);
        if plain != *path {
            return Err(format!("the path {path:?} is to be written {plain:?}"));
        }
        match self.rate.period.checked_mul(self.burst.get()) {
            Some(time) if time <= LONGEST => Ok(()),
            _ => Err(format!(
                "the bucket of {path:?} would take more than a day to fill"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_limits() {
        let limits = Limits::parse(
            "[[limit]]\npath = '/'\nrate = '10/s'\nburst = 20\n\
             [[limit]]\npath = '/orders'\nrate = '1/10s'\nburst = 1",
        )
        .unwrap();
        let lines: Vec<_> = limits.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["/: 10/s, burst 20", "/orders: 1/10s, burst 1"]);
    }

    #[test]
    fn the_period_of_a_rate() {
        for (rate, period) in [
            ("10/s", 100_000_000),
            ("1/10s", 10_000_000_000),
            ("6/min", 10_000_000_000),
            ("1/h", 3_600_000_000_000),
            // Rounded up: in a second come no more than three.
            ("3/s", 333_333_334),
            ("7/s", 142_857_143),
            ("4000000000/s", 1),
        ] {
            let parsed = Rate::parse(rate).unwrap();
            assert_eq!(parsed.period(), Duration::from_nanos(period), "{rate}");
        }
        for rate in [
            "", "10", "/s", "0/s", "-1/s", "1.5/s", "10/", "10/0s", "10/x", "10/s/s", "1/1",
        ] {
            assert_eq!(Rate::parse(rate), None, "{rate}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let limit = |fields: &str| format!("[[limit]]\n{fields}");
        for (text, why) in [
            (String::new(), "it has no [[limit]]"),
            ("limit".to_owned(), "line 1: "),
            (
                limit("path = '/'\nrate = '10'\nburst = 1"),
                "line 3: \"10\" is no rate",
            ),
            (limit("path = '/'\nrate = '1/s'\nburst = 0"), "line 4: "),
            (
                limit("path = '/'\nrate = '1/s'"),
                "line 1: missing field `burst`",
            ),
            (
                limit("path = '/'\nrate = '1/s'\nburst = 1\nbrust = 2"),
                "line 5: unknown field `brust`",
            ),
            (
                limit("path = 'a'\nrate = '1/s'\nburst = 1"),
                "the path \"a\" does not begin with /",
            ),
            (
                limit("path = '/a/'\nrate = '1/s'\nburst = 1"),
                "the path \"/a/\" is to be written \"/a\"",
            ),
            (
                limit("path = '/%61'\nrate = '1/s'\nburst = 1"),
                "the path \"/%61\" is to be written \"/a\"",
            ),
            (
                limit("path = '/'\nrate = '1/h'\nburst = 25"),
                "the bucket of \"/\" would take more than a day to fill",
            ),
            (
                limit("path = '/'\nrate = '1/s'\nburst = 1\n").repeat(2),
                "\"/\" has two limits",
            ),
        ] {
            let error = Limits::parse(&text).unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
