//! The offset file: where printing stopped, for the container that runs here next.
//!
//! A container that is restarted gets a new root filesystem and keeps its volumes, so the file
//! lives on a volume. It is text, one line for each file of the log:
//!
//! ```text
//! sidecar-container offsets 1 5c2d83f1a6b0e994
//! 1835023 1767225600.123456789 4096 1024 9ae16a3b2f90404f
//! ```
//!
//! The first line ends in a checksum of the others, which hold the file's inode, when it was made
//! (`-` where the file system does not say), the offset, and length and checksum of its beginning.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::log_file::{Head, Position};
use crate::{checksum, say};

/// The first words of the file; another format would have another number.
const TITLE: &str = "sidecar-container offsets 1";

/// Printed lines are noted down together, this long after the first of them. A container that is
/// killed prints the lines of this time again.
const BATCH: Duration = Duration::from_secs(1);

/// The offset file, and when to write it next.
#[derive(Debug)]
pub struct Offsets {
    path: PathBuf,
    /// What it holds, as far as we know.
    written: String,
    due: Option<Instant>,
    failing: bool,
}

impl Offsets {
    /// Reads the offset file at `path`.
    ///
    /// Where it cannot be read or understood, there are no positions: every line that the log
    /// still holds is printed then. Lines that come twice are a nuisance; lines that are missing
    /// are a loss.
    pub fn load(path: PathBuf) -> (Offsets, Vec<Position>) {
        let positions = match fs::read(&path) {
            Ok(bytes) => decode(&bytes).ok_or_else(|| io::Error::other("it is damaged")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let positions = positions.unwrap_or_else(|error| {
            let path = path.display();
            say(format_args!("cannot read the offsets in {path}: {error}; every line that is still there is printed"));
            Vec::new()
        });
        (
            Offsets {
                path,
                written: String::new(),
                due: None,
                failing: false,
            },
            positions,
        )
    }

    /// Notes that lines have been printed, which is to be written down soon.
    pub fn changed(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + BATCH);
    }

    /// Waits until it is time to write; forever, when nothing has changed.
    pub async fn due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Writes the offset file. Where that fails, it is said once, and tried again next time.
    pub fn save(&mut self, positions: &[Position]) {
        self.due = None;
        let text = encode(positions);
        if text == self.written {
            return;
        }
        let path = self.path.display();
        match replace(&self.path, &text) {
            Ok(()) => {
                if self.failing {
                    say(format_args!("the offsets are kept in {path} again"));
                }
                self.failing = false;
                self.written = text;
            }
            Err(error) => {
                if !self.failing {
                    say(format_args!(
                        "cannot keep the offsets in {path}: {error}; a restart would print lines again"
                    ));
                }
                self.failing = true;
            }
        }
    }
}

// ANCHOR: replace
/// Replaces a file, so that whoever reads it finds the old text or the new one, and nothing in
/// between, whenever this program or its container ends.
///
/// It does not wait for the disk (`fsync`): should the whole node lose its power, the file may be
/// damaged, which its checksum shows, and lines are printed again.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, path))
        .inspect_err(|_| {
            // On a full volume, not even half of it should stay.
            let _ = fs::remove_file(&draft);
        })
}
// ANCHOR_END: replace

fn encode(positions: &[Position]) -> String {
    let mut lines = String::new();
    for Position {
        inode,
        born,
        head,
        offset,
        ..
    } in positions
    {
        let born = match born.and_then(|born| born.duration_since(UNIX_EPOCH).ok()) {
            Some(born) => format!("{}.{:09}", born.as_secs(), born.subsec_nanos()),
            None => "-".to_owned(),
        };
        lines += &format!(
            "{inode} {born} {offset} {} {:016x}\n",
            head.length, head.checksum
        );
    }
    format!("{TITLE} {:016x}\n{lines}", checksum(None, lines.as_bytes()))
}

fn decode(bytes: &[u8]) -> Option<Vec<Position>> {
    let (title, lines) = str::from_utf8(bytes).ok()?.split_once('\n')?;
    let expected = title.strip_prefix(TITLE)?.strip_prefix(' ')?;
    if format!("{:016x}", checksum(None, lines.as_bytes())) != expected {
        return None;
    }
    lines.lines().map(decode_line).collect()
}

fn decode_line(line: &str) -> Option<Position> {
    let mut fields = line.split(' ');
    let inode = fields.next()?.parse().ok()?;
    let born = match fields.next()? {
        "-" => None,
        born => {
            let (seconds, nanoseconds) = born.split_once('.')?;
            Some(since_epoch(
                seconds.parse().ok()?,
                nanoseconds.parse().ok()?,
            )?)
        }
    };
    let offset = fields.next()?.parse().ok()?;
    let head = Head {
        length: fields.next()?.parse().ok()?,
        checksum: u64::from_str_radix(fields.next()?, 16).ok()?,
    };
    if fields.next().is_some() {
        return None;
    }
    // The beginning of a line that was not complete is searched for its end again.
    Some(Position {
        inode,
        born,
        head,
        offset,
        searched: offset,
    })
}

fn since_epoch(seconds: u64, nanoseconds: u32) -> Option<SystemTime> {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))?
        .checked_add(Duration::from_nanos(nanoseconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions() -> Vec<Position> {
        let head = Head::of(b"GET /a 200\n");
        vec![
            Position {
                inode: 7,
                born: since_epoch(1_767_225_600, 5),
                head,
                offset: 11,
                searched: 11,
            },
            Position {
                inode: u64::MAX,
                born: None,
                head: Head::of(&[]),
                offset: 0,
                searched: 0,
            },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(decode(encode(&positions()).as_bytes()), Some(positions()));
        assert_eq!(decode(encode(&[]).as_bytes()), Some(Vec::new()));
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        let whole = encode(&positions()).into_bytes();
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "cut after {length} bytes");
        }
        for index in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[index] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {index}");
        }
    }
}
