//! What chance decides in a check, so that an answer cannot know it beforehand.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, ensure};
use regex_lite::{Captures, Regex};
use serde::Deserialize;

/// What a check's chances come from: the same seed, the same check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// Another one each time.
    #[must_use]
    pub fn any() -> Self {
        Self(fastrand::u32(..))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What kind of thing chance decides.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Vary {
    /// `"word"`: a few small letters.
    Kind(Kind),
    /// `[3, 9]`: a number from 3 to 9.
    Range([u32; 2]),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Word,
}

/// So long are words: none is in a manifest by accident.
const LETTERS: usize = 8;

pub(super) fn decide(vary: &BTreeMap<String, Vary>, seed: Seed) -> BTreeMap<String, String> {
    let mut chance = fastrand::Rng::with_seed(seed.0.into());
    let mut decided = BTreeMap::new();
    for (name, vary) in vary {
        let value = match vary {
            Vary::Kind(Kind::Word) => (0..LETTERS).map(|_| chance.lowercase()).collect(),
            Vary::Range([from, to]) => chance.u32(*from.min(to)..=*to.max(from)).to_string(),
        };
        decided.insert(name.clone(), value);
    }
    decided
}

/// Puts the values in the places of their names: `{name}`.
pub(super) fn fill_in(text: &str, values: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let place = Regex::new(r"\{([a-z][a-z-]*)\}").context("the pattern of places")?;
    for found in place.captures_iter(text) {
        ensure!(
            values.contains_key(&found[1]),
            "`{}` is in it, and there is no `{}`; there are: {}",
            &found[0],
            &found[1],
            Vec::from_iter(values.keys().map(String::as_str)).join(", ")
        );
    }
    let value = |found: &Captures<'_>| values.get(&found[1]).cloned().unwrap_or_default();
    Ok(place.replace_all(text, value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_same_each_time_and_another_one_something_else() {
        let vary = toml::from_str("word = 'word'\ntimes = [3, 900]").unwrap();
        let [one, again, other] = [7, 7, 8].map(|seed| decide(&vary, Seed(seed)));
        assert_eq!(one, again);
        assert_ne!(one, other);
        assert_eq!(one["word"].len(), LETTERS);
        assert!((3..=900).contains(&one["times"].parse::<u32>().unwrap()));
    }

    #[test]
    fn names_are_filled_in_and_nothing_else_is() {
        let values = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let filled = fill_in("x = { y = {a}, z = '^[0-9]{3}$' }", &values).unwrap();
        assert_eq!(filled, "x = { y = 1, z = '^[0-9]{3}$' }");
        let error = fill_in("{b}", &values).unwrap_err().to_string();
        assert_eq!(error, "`{b}` is in it, and there is no `b`; there are: a");
    }
}
