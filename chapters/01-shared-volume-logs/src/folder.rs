//! The folder of the log: which of the files in it belong to the log, and which is the oldest.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use crate::watch::Place;

/// A file that has a name in the log's folder.
pub struct Found {
    /// Its name there.
    pub name: OsString,
    /// Whether it is what `LOG_PATH` leads to.
    pub is_log: bool,
    /// The number at the end of its name, as in `access.log.2`.
    number: u64,
    /// What the file system says of it.
    pub metadata: Metadata,
}

/// What stays with a file when it is renamed: its inode, and when it was made.
pub type Identity = (u64, Option<SystemTime>);

/// The identity of a file.
pub fn identity(metadata: &Metadata) -> Identity {
    (metadata.ino(), metadata.created().ok())
}

/// Lists the files that belong to the log, the oldest first: those that are named as rotated logs
/// are, and those with an inode that is `known`, whatever their names.
///
/// While an app renames files, the list may miss one.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn list(place: &Place, known: &HashSet<u64>) -> io::Result<Vec<Found>> {
    let log = &place.name;
    let mut found = Vec::new();
    for entry in fs::read_dir(&place.folder)? {
        let entry = entry?;
        // A file that went away in the meantime has no metadata.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let name = entry.file_name();
        let is_log = name == *log;
        let belongs = is_rotated_name(&name, log) || known.contains(&metadata.ino());
        if is_log || (belongs && metadata.is_file()) {
            let number = number(&name, log);
            found.push(Found {
                name,
                is_log,
                number,
                metadata,
            });
        }
    }
    // A file with two names counts once, by the name that makes it the youngest.
    let mut inodes = HashSet::new();
    found.sort_by(|a, b| b.age().cmp(&a.age()));
    found.retain(|file| inodes.insert(file.metadata.ino()));
    found.reverse();
    Ok(found)
}

impl Found {
    // ANCHOR: age
    /// The older of two files is less.
    fn age(&self) -> (bool, SystemTime, Reverse<u64>, &OsStr) {
        // The file at LOG_PATH is the youngest. A file system's clock stands still for some
        // milliseconds; of two files from the same moment, `access.log.2` is older than
        // `access.log.1`, and `access.log-20260101` is older than `access.log-20260102`.
        let since = self
            .metadata
            .created()
            .or_else(|_| self.metadata.modified());
        (
            self.is_log,
            since.unwrap_or(SystemTime::UNIX_EPOCH),
            Reverse(self.number),
            &self.name,
        )
    }
    // ANCHOR_END: age

    /// Which file has which name.
    pub fn link(&self) -> (&OsStr, u64) {
        (&self.name, self.metadata.ino())
    }
}

/// What follows the name of the log in the name of a file.
fn suffix<'a>(name: &'a OsStr, log: &OsStr) -> Option<&'a [u8]> {
    name.as_encoded_bytes().strip_prefix(log.as_encoded_bytes())
}

/// Whether a file may be a log that was rotated: `access.log.1` or `access.log-20260101`, but not
/// `access.log.lock`, and not `access.log.1.gz`, whose bytes are not lines.
fn is_rotated_name(name: &OsStr, log: &OsStr) -> bool {
    let compressed = ["gz", "bz2", "xz", "zst", "lz4", "Z", "zip"];
    suffix(name, log).is_some_and(|suffix| {
        suffix.starts_with(b".") | suffix.starts_with(b"-")
            && suffix.iter().any(u8::is_ascii_digit)
            && !compressed
                .iter()
                .any(|ending| suffix.ends_with(ending.as_bytes()))
    })
}

/// The number at the end of a rotated log's name; 0 where there is none, or a date.
fn number(name: &OsStr, log: &OsStr) -> u64 {
    let digits = suffix(name, log).and_then(|suffix| str::from_utf8(suffix.get(1..)?).ok());
    digits
        .and_then(|digits| digits.parse().ok())
        .filter(|number| *number < 1_000_000)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_log_is_known_by_its_name() {
        for name in [
            "access.log.1",
            "access.log-20260101",
            "access.log.2026-01-01T10",
            "access.log.old1",
        ] {
            assert!(
                is_rotated_name(name.as_ref(), "access.log".as_ref()),
                "{name}"
            );
        }
        for name in [
            "access.log",
            "access.log.lock",
            "access.log.1.gz",
            "access.log.2.bz2",
            "error.log.1",
            "access.log2",
        ] {
            assert!(
                !is_rotated_name(name.as_ref(), "access.log".as_ref()),
                "{name}"
            );
        }
    }

    #[test]
    fn a_date_is_not_a_number() {
        assert_eq!(number("access.log.12".as_ref(), "access.log".as_ref()), 12);
        assert_eq!(
            number("access.log-20260101".as_ref(), "access.log".as_ref()),
            0
        );
        assert_eq!(number("access.log".as_ref(), "access.log".as_ref()), 0);
    }
}
