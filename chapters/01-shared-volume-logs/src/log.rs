//! The log as a whole: the file at `LOG_PATH`, and those that were there before it.
//!
//! An app rotates its log when it renames the file and makes a new one. It may write to the
//! renamed file a little longer, and it may rotate several times before anybody looks, or while
//! no sidecar runs. So the log is a family of files, known by their inodes, and the names only
//! help to find those that have never been seen.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use inotify::WatchDescriptor;

use crate::log_file::{LogFile, Position};
use crate::say;
use crate::watch::{Change, Place, Watch};

/// How much is read and printed at a time, in bytes: what a pipe holds.
const PIECE: usize = 64 * 1024;

/// So many files of the log are kept open, the youngest, so that a late write to one of them is
/// noticed at once. A late write to an older one is noticed at the next rotation.
const KEPT_OPEN: usize = 16;

/// So many files are opened at once at most, should hundreds have piled up.
const OPENED_AT_ONCE: usize = 64;

/// So many files that cannot be found any more are remembered: a folder may come back.
const REMEMBERED_MISSING: usize = 64;

/// An app that renames files while they are listed makes the list worthless. Try again so often.
const ATTEMPTS: usize = 100;

/// The log: all of its files, and how far each has been printed.
pub struct Log {
    watch: Watch,
    /// The files that are open, the oldest first.
    files: Vec<LogFile>,
    /// Where earlier printing stopped in files that are not open.
    remembered: Vec<Position>,
    /// Files that are named like rotated ones and are none.
    passed_over: HashSet<Identity>,
    /// Whether there are more files to open than were opened.
    look_again: bool,
    /// What cannot be read at present, so that each is said once …
    complaints: HashSet<String>,
    /// … and not again while it lasts.
    complaints_before: HashSet<String>,
    buffer: Vec<u8>,
}

/// What stays with a file when it is renamed.
type Identity = (u64, Option<SystemTime>);

/// A file that has a name in the log's folder.
struct Found {
    name: OsString,
    is_log: bool,
    /// The number at the end of its name, as in `access.log.2`.
    number: u64,
    metadata: Metadata,
}

/// A file that was found and opened.
struct Opened<'a> {
    found: &'a Found,
    file: File,
    /// Where earlier printing stopped in it.
    remembered: Option<Position>,
}

impl Log {
    /// Looks at the log at `path` for the first time. `remembered` is where a container that ran
    /// before stopped.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to watch files.
    pub fn open(path: PathBuf, remembered: Vec<Position>) -> anyhow::Result<Log> {
        let mut log = Log {
            watch: Watch::new(&path)?,
            files: Vec::new(),
            remembered,
            passed_over: HashSet::new(),
            look_again: false,
            complaints: HashSet::new(),
            complaints_before: HashSet::new(),
            buffer: vec![0; PIECE],
        };
        log.look()?;
        if log.files.is_empty() && log.complaints.is_empty() {
            say(format_args!("{} does not exist yet", path.display()));
        }
        Ok(log)
    }

    /// Waits until the kernel tells that something changed, and takes note of it.
    ///
    /// Nothing is lost when the returned future is dropped before it is done.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to watch files.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        let changes = self.watch.changes().await.context("cannot read what inotify tells")?;
        for change in &changes {
            match change {
                Change::Names => self.look_again = true,
                Change::Written(watch) => {
                    if let Some(file) = self.watched(watch) {
                        file.unread = true;
                        file.writer_left = false;
                    }
                }
                Change::Closed(watch) => {
                    if let Some(file) = self.watched(watch) {
                        // One more look may be the last one.
                        file.unread = true;
                        file.writer_left = true;
                    }
                }
            }
        }
        if self.look_again {
            self.look()?;
        }
        Ok(())
    }

    fn watched(&mut self, watch: &WatchDescriptor) -> Option<&mut LogFile> {
        self.files.iter_mut().find(|file| file.watch == *watch)
    }

    // ANCHOR: print-some
    /// Prints some of the lines that are complete, the oldest first; `false` when there are none.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or `out` cannot be written to.
    pub fn print_some(&mut self, out: &mut impl Write) -> anyhow::Result<bool> {
        for file in self.files.iter_mut().filter(|file| file.unread) {
            if print_some(file, &mut self.buffer, out)? {
                return Ok(true);
            }
            file.unread = false;
        }
        self.let_go();
        if self.look_again {
            self.look()?;
            return Ok(true);
        }
        Ok(false)
    }
    // ANCHOR_END: print-some

    /// Prints the lines that are complete now, and none that are written in the meantime: an app
    /// that never rests must not keep the sidecar from leaving.
    ///
    /// # Errors
    ///
    /// As [`Log::print_some`].
    pub fn print_rest(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        loop {
            self.look()?;
            for file in &mut self.files {
                let end = file.metadata()?.len();
                while print_some(file, &mut self.buffer, out)? && file.read_to() < end {}
            }
            self.let_go();
            if !self.look_again {
                return Ok(());
            }
        }
    }

    /// Where each file of the log has been printed to.
    pub fn positions(&self) -> Vec<Position> {
        let open = self.files.iter().filter(|file| !file.removed).map(|file| file.position);
        self.remembered.iter().copied().chain(open).collect()
    }

    // ANCHOR: look
    /// Looks which files the log is made of.
    fn look(&mut self) -> anyhow::Result<()> {
        self.look_again = false;
        self.complaints_before = mem::take(&mut self.complaints);
        let place = match self.watch.locate()? {
            Ok(place) => Some(place),
            Err(error) => {
                let path = self.watch.path().to_owned();
                self.complain(&path, &error);
                None
            }
        };
        // List, open, list again: when both lists agree, no name went from one file to another
        // in between, and no file has been missed.
        let mut found = self.list(place.as_ref());
        for _ in 0..ATTEMPTS {
            let opened = self.open_unknown(place.as_ref(), &found)?;
            let now = self.list(place.as_ref());
            if now.iter().map(Found::link).eq(found.iter().map(Found::link)) {
                return self.adopt(&found, opened);
            }
            found = now;
        }
        // The names never stand still. Take what is there; they will bring us here again.
        let opened = self.open_unknown(place.as_ref(), &found)?;
        self.adopt(&found, opened)
    }
    // ANCHOR_END: look

    /// Lists the files of the log that have a name in its folder, the oldest first.
    fn list(&mut self, place: Option<&Place>) -> Vec<Found> {
        let Some(Place { folder, name: log }) = place else {
            return Vec::new();
        };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.complain(folder, &error);
                return Vec::new();
            }
        };
        let known: HashSet<u64> = self.positions().iter().map(|position| position.inode).collect();
        let mut found = Vec::new();
        for entry in entries.flatten() {
            // A file that went away in the meantime has no metadata.
            let Ok(metadata) = entry.metadata() else { continue };
            let name = entry.file_name();
            let is_log = name == *log;
            if is_log && !metadata.is_file() {
                self.complain(&entry.path(), &io::Error::other("it is not a file"));
            }
            if metadata.is_file()
                && (is_log || is_rotated_name(&name, log) || known.contains(&metadata.ino()))
            {
                let number = number(&name, log);
                found.push(Found { name, is_log, number, metadata });
            }
        }
        found.sort_by(|a, b| a.age().cmp(&b.age()));
        // A file with two names counts once.
        let mut inodes = HashSet::new();
        found.retain(|file| inodes.insert(file.metadata.ino()));
        found
    }

    /// Opens those of the files that are not open, as far as they may matter.
    fn open_unknown<'a>(
        &mut self,
        place: Option<&Place>,
        found: &'a [Found],
    ) -> anyhow::Result<Vec<Opened<'a>>> {
        let mut opened = Vec::new();
        for (index, found_file) in found.iter().enumerate() {
            let is_young = index + KEPT_OPEN >= found.len();
            if self.is_open(found_file)
                || (!found_file.is_log && self.passed_over.contains(&found_file.identity()))
                || (!is_young && self.is_printed(found_file))
            {
                continue;
            }
            if opened.len() == OPENED_AT_ONCE {
                self.look_again = true;
                break;
            }
            let Some(place) = place else { break };
            let path = place.folder.join(&found_file.name);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) => {
                    self.complain(&path, &error);
                    continue;
                }
            };
            let metadata =
                file.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
            let mut remembered = None;
            for position in &self.remembered {
                if position
                    .is_in(&file, &metadata)
                    .with_context(|| format!("cannot read {}", path.display()))?
                {
                    remembered = Some(*position);
                }
            }
            opened.push(Opened { found: found_file, file, remembered });
        }
        Ok(opened)
    }

    // ANCHOR: adopt
    /// Makes the files that were opened part of the log.
    fn adopt(&mut self, found: &[Found], opened: Vec<Opened<'_>>) -> anyhow::Result<()> {
        // As long as a file stays at `LOG_PATH`, none can have been there after it: an unknown
        // file that is named like a rotated one is a copy then (`cp access.log access.log.1`),
        // and its lines are printed from the file that it is a copy of.
        let log_stays = found.last().is_some_and(|log| {
            let was_known = |opened: &Opened| opened.found.is_log && opened.remembered.is_some();
            log.is_log && (self.is_open(log) || opened.iter().any(was_known))
        });
        for Opened { found, file, remembered } in opened {
            if log_stays && !found.is_log && remembered.is_none() {
                self.passed_over.insert(found.identity());
                continue;
            }
            // Watch first, read then: what is written in between is told.
            let watch = self.watch.file(&file)?;
            self.remembered.retain(|position| position.inode != found.metadata.ino());
            let position = remembered.unwrap_or_else(|| Position::start(&found.metadata));
            self.files.push(LogFile::new(
                file,
                found.name.clone(),
                found.metadata.dev(),
                position,
                watch,
            ));
        }

        // Files that have no name in the folder were removed, or moved to another one. They come
        // first, because they are older than those that have.
        let place_in = |file: &LogFile| found.iter().position(|found| found.is(file));
        self.files.sort_by_key(place_in);
        for file in &mut self.files {
            file.unread = true;
            match place_in(file) {
                Some(index) => file.name.clone_from(&found[index].name),
                None => file.removed = file.metadata()?.nlink() == 0,
            }
        }
        self.passed_over.retain(|identity| found.iter().any(|found| found.identity() == *identity));
        let is_missing =
            |position: &Position| !found.iter().any(|found| found.metadata.ino() == position.inode);
        let missing = self.remembered.iter().filter(|position| is_missing(position)).count();
        let mut too_many = missing.saturating_sub(REMEMBERED_MISSING);
        self.remembered.retain(|position| {
            let forget = too_many > 0 && is_missing(position);
            too_many -= usize::from(forget);
            !forget
        });
        Ok(())
    }
    // ANCHOR_END: adopt

    /// Closes files that need not be open any more. All files have been read to their end.
    fn let_go(&mut self) {
        let mut removed = self.files.iter().filter(|file| file.removed).count();
        let mut too_many = self.files.len().saturating_sub(KEPT_OPEN);
        self.files.retain(|file| {
            let keep = if file.removed {
                // An app may go on writing to a file that someone has removed below it. The
                // space on disk is only given back when we have closed it too, so at most one
                // file is kept on such a suspicion.
                removed -= 1;
                removed == 0 && !file.writer_left
            } else {
                too_many == 0 || file.incomplete() > 0
            };
            if keep {
                return true;
            }
            too_many = too_many.saturating_sub(1);
            self.watch.forget(file.watch.clone());
            if !file.removed {
                self.remembered.push(file.position);
            } else if file.incomplete() > 0 {
                let (name, bytes) = (file.name.display(), file.incomplete());
                say(format_args!(
                    "{name} was removed, and {bytes} bytes of a line that was not complete with it"
                ));
            }
            false
        });
    }

    fn is_open(&self, found: &Found) -> bool {
        self.files.iter().any(|file| found.is(file))
    }

    /// Whether all of a file had been printed when it was closed.
    fn is_printed(&self, found: &Found) -> bool {
        self.remembered.iter().any(|position| {
            (position.inode, position.born) == found.identity()
                && position.offset == found.metadata.len()
        })
    }

    /// Says once that a file or folder cannot be read. That it is missing is no cause for complaint.
    fn complain(&mut self, path: &Path, error: &io::Error) {
        if is_missing(error) {
            return;
        }
        let complaint = format!("cannot read {}: {error}", path.display());
        if self.complaints.insert(complaint.clone()) && !self.complaints_before.contains(&complaint)
        {
            say(complaint);
        }
    }
}

impl Found {
    /// The older of two files is less.
    fn age(&self) -> (bool, SystemTime, Reverse<u64>, &OsStr) {
        // The file at LOG_PATH is the youngest. A file system's clock stands still for some
        // milliseconds; of two files from the same moment, `access.log.2` is older than
        // `access.log.1`, and `access.log-20260101` is older than `access.log-20260102`.
        let since = self.metadata.created().or_else(|_| self.metadata.modified());
        (self.is_log, since.unwrap_or(SystemTime::UNIX_EPOCH), Reverse(self.number), &self.name)
    }

    /// Which file has which name.
    fn link(&self) -> (&OsStr, u64) {
        (&self.name, self.metadata.ino())
    }

    fn identity(&self) -> Identity {
        (self.metadata.ino(), self.metadata.created().ok())
    }

    fn is(&self, file: &LogFile) -> bool {
        (self.metadata.dev(), self.metadata.ino()) == (file.device, file.position.inode)
    }
}

/// Prints some lines of one file, and says which file it was when that fails.
fn print_some(file: &mut LogFile, buffer: &mut [u8], out: &mut impl Write) -> anyhow::Result<bool> {
    file.print_some(buffer, out).with_context(|| format!("cannot print {}", file.name.display()))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
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
            && !compressed.iter().any(|ending| suffix.ends_with(ending.as_bytes()))
    })
}

/// The number at the end of a rotated log's name; 0 where there is none, or a date.
fn number(name: &OsStr, log: &OsStr) -> u64 {
    let digits = suffix(name, log).and_then(|suffix| str::from_utf8(suffix.get(1..)?).ok());
    digits.and_then(|digits| digits.parse().ok()).filter(|number| *number < 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_log_is_known_by_its_name() {
        for name in
            ["access.log.1", "access.log-20260101", "access.log.2026-01-01T10", "access.log.old1"]
        {
            assert!(is_rotated_name(name.as_ref(), "access.log".as_ref()), "{name}");
        }
        for name in [
            "access.log",
            "access.log.lock",
            "access.log.1.gz",
            "access.log.2.bz2",
            "error.log.1",
            "access.log2",
        ] {
            assert!(!is_rotated_name(name.as_ref(), "access.log".as_ref()), "{name}");
        }
    }

    #[test]
    fn a_date_is_not_a_number() {
        assert_eq!(number("access.log.12".as_ref(), "access.log".as_ref()), 12);
        assert_eq!(number("access.log-20260101".as_ref(), "access.log".as_ref()), 0);
        assert_eq!(number("access.log".as_ref(), "access.log".as_ref()), 0);
    }
}
