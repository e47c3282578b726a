//! The kernel's word that something changed, so that nobody has to poll.
//!
//! inotify tells two kinds of things, and this room keeps them apart:
//!
//! - a *folder* that is watched tells which names come, go and change in it;
//! - a *file* that is watched tells that it was written to, under whatever name it has by then.
//!
//! The log's folder may not exist yet, or go and come back. The kernel can only watch what is
//! there, so every folder on the way to the log is watched, for the next step to appear in it or
//! to go.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use futures_util::{FutureExt, StreamExt};
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

/// A folder.
const NAMES: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    // Its permissions, or those of a file in it, may change and let us in.
    .union(WatchMask::ATTRIB)
    // Its parent tells of this too, if we may read that.
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);

/// A file of the log.
const BYTES: WatchMask = WatchMask::MODIFY
    .union(WatchMask::CLOSE_WRITE)
    // The last name of a file is removed: the kernel calls this a change of its attributes.
    .union(WatchMask::ATTRIB);

/// Follow so many symbolic links on the way to the log, as the kernel does.
const LINKS: usize = 40;

/// Watches the log and the way to it.
pub struct Watch {
    events: EventStream<Vec<u8>>,
    watches: Watches,
    /// Where the log is, as it was asked for.
    path: PathBuf,
    /// The folders on the way there, each with the name of the next step.
    way: Vec<(WatchDescriptor, OsString)>,
}

/// Where the log is, or would be: symbolic links are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The folder, which exists.
    pub folder: PathBuf,
    /// The name of the log in it, which may not.
    pub name: OsString,
}

/// What the kernel told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Files or folders may have come, gone or changed their names.
    Names,
    /// This file was written to, or truncated.
    Written(WatchDescriptor),
    /// Someone who could write to this file has closed it.
    Closed(WatchDescriptor),
}

impl Watch {
    /// Prepares to watch the log at `path`.
    ///
    /// # Errors
    ///
    /// When the kernel has no inotify instance left for this user.
    pub fn new(path: &Path) -> anyhow::Result<Watch> {
        let events = Inotify::init()
            .and_then(|inotify| inotify.into_event_stream(vec![0; 16 * 1024]))
            .context("cannot watch files: inotify refuses; a higher fs.inotify.max_user_instances may do")?;
        Ok(Watch {
            watches: events.watches(),
            events,
            path: std::path::absolute(path)
                .with_context(|| format!("LOG_PATH={path:?} is no path"))?,
            way: Vec::new(),
        })
    }

    /// Where the log is, as it was asked for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the kernel has something to tell.
    ///
    /// Nothing is lost when the returned future is dropped before it is done.
    ///
    /// # Errors
    ///
    /// When the kernel's queue cannot be read.
    pub async fn changes(&mut self) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        let mut next = self.events.next().await;
        while let Some(event) = next {
            changes.extend(self.change(event?));
            // Take along what else has been told, but do not wait for more.
            next = self.events.next().now_or_never().flatten();
        }
        Ok(changes)
    }

    /// What an event means for the log; `None` when it does not matter.
    fn change(&self, event: EventOwned) -> Option<Change> {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            // The queue was full, and what it had no room for is not known.
            Some(Change::Names)
        } else if self.way.iter().any(|(folder, _)| *folder == event.wd) {
            // Rotated files are named after the log, so the beginning of a name is what counts.
            let matters = |(folder, step): &(WatchDescriptor, OsString)| {
                let starts =
                    |name: &OsString| name.as_encoded_bytes().starts_with(step.as_encoded_bytes());
                *folder == event.wd && event.name.as_ref().is_none_or(starts)
            };
            self.way.iter().any(matters).then_some(Change::Names)
        } else if event.mask.contains(EventMask::MODIFY) {
            Some(Change::Written(event.wd))
        } else if event.mask.contains(EventMask::CLOSE_WRITE) {
            Some(Change::Closed(event.wd))
        } else if event.mask.contains(EventMask::ATTRIB) {
            Some(Change::Names)
        } else {
            None
        }
    }

    /// Watches a file of the log, whatever its name is or will be.
    ///
    /// # Errors
    ///
    /// When the kernel has no watch left for this user.
    pub fn file(&mut self, file: &File) -> anyhow::Result<WatchDescriptor> {
        // Its name may belong to another file by now; the open file is the one that is meant.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.watches.add(path, BYTES).context(NO_WATCH)
    }

    /// Stops watching a file.
    pub fn forget(&mut self, file: WatchDescriptor) {
        // The kernel refuses when the file is gone, and its watch with it.
        let _ = self.watches.remove(file);
    }

    /// Walks from the root to the folder of the log, watches what it passes, and says where the
    /// log is, or why its folder cannot be reached yet.
    ///
    /// # Errors
    ///
    /// When the kernel has no watch left for this user.
    pub fn locate(&mut self) -> anyhow::Result<io::Result<Place>> {
        let before = mem::take(&mut self.way);
        let mut steps = names(&self.path);
        let mut folder = PathBuf::from("/");
        let mut links = 0;
        let place = loop {
            let Some(name) = steps.pop() else {
                break Err(ErrorKind::IsADirectory.into());
            };
            // ANCHOR: watch-first
            // Watch first, look then: what happens in between is told.
            match self.watches.add(&folder, NAMES) {
                Ok(watch) => self.way.push((watch, name.clone())),
                // Who may not read a folder may still pass through it.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    return Err(error).context(NO_WATCH);
                }
                Err(error) => break Err(error),
            }
            let path = folder.join(&name);
            // ANCHOR_END: watch-first
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_symlink() && links < LINKS => {
                    links += 1;
                    match fs::read_link(&path) {
                        Ok(target) => {
                            steps.extend(names(&target));
                            if target.is_absolute() {
                                folder = PathBuf::from("/");
                            }
                        }
                        Err(error) => break Err(error),
                    }
                }
                // The log itself, whether it is there or not.
                _ if steps.is_empty() => break Ok(Place { folder, name }),
                Ok(_) if name == ".." => _ = folder.pop(),
                Ok(_) => folder = path,
                Err(error) => break Err(error),
            }
        };
        for (watch, _) in before {
            if !self.way.iter().any(|(folder, _)| *folder == watch) {
                self.forget(watch);
            }
        }
        Ok(place)
    }
}

const NO_WATCH: &str = "cannot watch one more file: a higher fs.inotify.max_user_watches may do";

/// The names on a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let steps = path
        .components()
        .filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir));
    steps
        .rev()
        .map(|step| step.as_os_str().to_owned())
        .collect()
}
