//! The log as a whole: the file at `LOG_PATH`, and those that were there before it.
//!
//! An app rotates its log when it renames the file and makes a new one. It may write to the
//! renamed file a little longer, and it may rotate several times before anybody looks, or while
//! no sidecar runs. So the log is a family of files, known by their inodes, and the names only
//! help to find those that have never been seen.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use inotify::WatchDescriptor;

use crate::folder::{self, Found, Identity, identity};
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
const ATTEMPTS: usize = 1000;

/// The log: all of its files, and how far each has been printed.
pub struct Log {
    watch: Watch,
    /// The files that are open, the oldest first.
    files: Vec<LogFile>,
    /// Where earlier printing stopped in files that are not open.
    remembered: Vec<Position>,
    /// Files that are named like rotated ones and are none.
    passed_over: HashSet<Identity>,
    /// Whether the names have changed since the last look.
    look_again: bool,
    /// Whether the last look has found more files than it has opened.
    more_to_open: bool,
    /// What cannot be read at present, so that each is said once …
    complaints: HashSet<String>,
    /// … and not again while it lasts.
    complaints_before: HashSet<String>,
    buffer: Vec<u8>,
}

/// A file that was found and opened.
struct Opened<'a> {
    found: &'a Found,
    file: File,
    metadata: Metadata,
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
            more_to_open: false,
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
        let changes = self
            .watch
            .changes()
            .await
            .context("cannot read what inotify tells")?;
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
        if self.look_again || self.more_to_open {
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
            if !self.more_to_open {
                return Ok(());
            }
        }
    }

    /// Where each file of the log has been printed to.
    pub fn positions(&self) -> Vec<Position> {
        let open = self
            .files
            .iter()
            .filter(|file| !file.removed)
            .map(|file| file.position);
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
            if now
                .iter()
                .map(Found::link)
                .eq(found.iter().map(Found::link))
            {
                self.pass_over_copies(&found, opened)?;
                self.forget_missing(&found);
                return Ok(());
            }
            found = now;
        }
        // The names do not stand still. Take what is there, in the order that they seem to have,
        // and come back.
        self.look_again = true;
        let opened = self.open_unknown(place.as_ref(), &found)?;
        self.adopt(&found, opened)
    }
    // ANCHOR_END: look

    /// The files of the log that have a name in its folder, the oldest first.
    fn list(&mut self, place: Option<&Place>) -> Vec<Found> {
        let Some(place) = place else {
            return Vec::new();
        };
        let known = self
            .positions()
            .iter()
            .map(|position| position.inode)
            .collect();
        folder::list(place, &known).unwrap_or_else(|error| {
            self.complain(&place.folder, &error);
            Vec::new()
        })
    }

    /// Opens those of the files that are not open, as far as they may matter.
    fn open_unknown<'a>(
        &mut self,
        place: Option<&Place>,
        found: &'a [Found],
    ) -> anyhow::Result<Vec<Opened<'a>>> {
        self.more_to_open = false;
        let Some(place) = place else {
            return Ok(Vec::new());
        };
        let mut opened = Vec::new();
        for (index, found_file) in found.iter().enumerate() {
            let is_young = index + KEPT_OPEN >= found.len();
            if self.is_open(found_file)
                || (!found_file.is_log
                    && self.passed_over.contains(&identity(&found_file.metadata)))
                || (!is_young && self.is_read(&found_file.metadata))
            {
                continue;
            }
            if opened.len() == OPENED_AT_ONCE {
                self.more_to_open = true;
                break;
            }
            let path = place.folder.join(&found_file.name);
            let file = match open_file(&path, found_file) {
                Ok(file) => file,
                Err(error) => {
                    self.complain(&path, &error);
                    continue;
                }
            };
            let unreadable = || format!("cannot read {}", path.display());
            let metadata = file.metadata().with_context(unreadable)?;
            if metadata.ino() != found_file.metadata.ino() {
                // It went to another name just now, and will be found there.
                continue;
            }
            let mut remembered = None;
            for position in &self.remembered {
                if position.is_in(&file, &metadata).with_context(unreadable)? {
                    remembered = Some(*position);
                }
            }
            opened.push(Opened {
                found: found_file,
                file,
                metadata,
                remembered,
            });
        }
        Ok(opened)
    }

    // ANCHOR: copies
    /// Makes the files that were opened part of the log, but for copies.
    ///
    /// As long as a file stays at `LOG_PATH`, none can have been there after it. So an unknown
    /// file that is named like a rotated one is a copy then (`cp access.log access.log.1`), and
    /// its lines are printed from the file that it is a copy of.
    fn pass_over_copies(&mut self, found: &[Found], opened: Vec<Opened<'_>>) -> anyhow::Result<()> {
        let log_stays = found.last().is_some_and(|log| {
            let was_known = |opened: &Opened| opened.found.is_log && opened.remembered.is_some();
            log.is_log && (self.is_open(log) || opened.iter().any(was_known))
        });
        let (copies, files): (Vec<_>, Vec<_>) = opened
            .into_iter()
            .partition(|opened| log_stays && !opened.found.is_log && opened.remembered.is_none());
        self.passed_over
            .extend(copies.iter().map(|copy| identity(&copy.metadata)));
        self.adopt(found, files)
    }
    // ANCHOR_END: copies

    /// Makes the files that were opened part of the log.
    fn adopt(&mut self, found: &[Found], opened: Vec<Opened<'_>>) -> anyhow::Result<()> {
        for Opened {
            found,
            file,
            metadata,
            remembered,
        } in opened
        {
            // Watch first, read then: what is written in between is told.
            let watch = self.watch.file(&file)?;
            self.remembered
                .retain(|position| position.inode != metadata.ino());
            self.passed_over.remove(&identity(&metadata));
            let position = remembered.unwrap_or_else(|| Position::start(&metadata));
            self.files.push(LogFile::new(
                file,
                found.name.clone(),
                metadata.dev(),
                position,
                watch,
            ));
        }
        // Files that have no name in the folder were removed, or moved to another one. They come
        // first, because they are older than those that have.
        let place_in = |file: &LogFile| found.iter().position(|found| is_same(found, file));
        self.files.sort_by_key(place_in);
        for file in &mut self.files {
            file.unread = true;
            match place_in(file) {
                Some(index) => file.name.clone_from(&found[index].name),
                None => file.removed = file.metadata()?.nlink() == 0,
            }
        }
        Ok(())
    }

    /// Forgets files that are not there any more.
    fn forget_missing(&mut self, found: &[Found]) {
        if found.is_empty() {
            // The folder itself may be away.
            return;
        }
        let identities: HashSet<Identity> = found
            .iter()
            .map(|found| identity(&found.metadata))
            .collect();
        self.passed_over
            .retain(|identity| identities.contains(identity));
        let is_missing =
            |position: &Position| !identities.contains(&(position.inode, position.born));
        let missing = self
            .remembered
            .iter()
            .filter(|position| is_missing(position))
            .count();
        let mut too_many = missing.saturating_sub(REMEMBERED_MISSING);
        self.remembered.retain(|position| {
            let forget = too_many > 0 && is_missing(position);
            too_many -= usize::from(forget);
            !forget
        });
    }

    /// Closes files that need not be open any more. All of them have been read to their end.
    fn let_go(&mut self) {
        let mut younger = self.files.len();
        let mut removed = self.files.iter().filter(|file| file.removed).count();
        self.files.retain(|file| {
            younger -= 1;
            let keep = if file.removed {
                // An app may go on writing to a file that someone has removed below it. The
                // space on disk is only given back when we have closed it too, so at most one
                // file is kept on such a suspicion.
                removed -= 1;
                removed == 0 && !file.writer_left
            } else {
                younger < KEPT_OPEN
            };
            if keep {
                return true;
            }
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
        self.files.iter().any(|file| is_same(found, file))
    }

    /// Whether a file that is not open has nothing that was not read before.
    fn is_read(&self, metadata: &Metadata) -> bool {
        self.remembered.iter().any(|position| {
            (position.inode, position.born) == identity(metadata)
                && position.searched == metadata.len()
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

/// Whether a file that was found is one that is open.
fn is_same(found: &Found, file: &LogFile) -> bool {
    (found.metadata.dev(), found.metadata.ino()) == (file.device, file.position.inode)
}

/// Opens a file that can be read from any place in it; a pipe, for one, cannot.
fn open_file(path: &Path, found: &Found) -> io::Result<File> {
    if found.metadata.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("it is not a file"))
    }
}

/// Prints some lines of one file, and says which file it was when that fails.
fn print_some(file: &mut LogFile, buffer: &mut [u8], out: &mut impl Write) -> anyhow::Result<bool> {
    file.print_some(buffer, out)
        .with_context(|| format!("cannot print {}", file.name.display()))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
