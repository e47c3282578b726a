//! The kernel's word that something changed, so that nobody has to poll.
//!
//! inotify tells two kinds of things, and this room keeps them apart:
//!
//! - a *folder* that is watched tells which names come, go and change in it;
//! - a *file* that is watched tells that it was written to, under whatever name it has by then.
//!
//! The log's folder may not exist yet, or go and come back. The kernel can only watch what is
//! there, so every folder on the way to the log is watched too: the last that exists for the
//! next one to appear, those before it for being moved away or removed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;

/// A folder in which names may come and go.
const NAMES: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    // Its permissions, or those of a file in it, may change and let us in.
    .union(WatchMask::ATTRIB)
    .union(ITSELF);

/// A folder that only matters for as long as it stays where it is.
const ITSELF: WatchMask = WatchMask::DELETE_SELF.union(WatchMask::MOVE_SELF).union(WatchMask::ONLYDIR);

/// A file of the log.
const BYTES: WatchMask = WatchMask::MODIFY
    .union(WatchMask::CLOSE_WRITE)
    // The last name of a file is removed: the kernel calls this a change of its attributes.
    .union(WatchMask::ATTRIB);

/// Follow so many symbolic links on the way to the log, as the kernel does.
const LINKS: usize = 40;

/// Watches the log and the way to it.
pub struct Watch {
    inotify: AsyncFd<Inotify>,
    /// Where the log is, as it was asked for.
    path: PathBuf,
    /// The folders that are watched now.
    folders: Vec<WatchDescriptor>,
    /// The folder of the log, and the log's name there: other names in it do not matter.
    log: Option<(WatchDescriptor, OsString)>,
    /// Where the kernel puts what it tells.
    buffer: Vec<u8>,
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
        let inotify = Inotify::init()
            .and_then(AsyncFd::new)
            .context("cannot watch files: inotify refuses; a higher fs.inotify.max_user_instances may do")?;
        Ok(Watch {
            inotify,
            path: std::path::absolute(path).with_context(|| format!("LOG_PATH={path:?} is no path"))?,
            folders: Vec::new(),
            log: None,
            buffer: vec![0; 16 * 1024],
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
        loop {
            // An inotify instance is a file descriptor that is readable when there is something
            // to tell, so the runtime can wait for it as it waits for a socket.
            let mut ready = self.inotify.readable_mut().await?;
            let changes = ready.try_io(|inotify| {
                let events = inotify.get_mut().read_events(&mut self.buffer)?;
                Ok(events.filter_map(|event| change(event, &self.folders, self.log.as_ref())).collect())
            });
            // `Err` is how `try_io` says that it was a false alarm.
            if let Ok(changes) = changes {
                return changes;
            }
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
        self.inotify.get_ref().watches().add(path, BYTES).context(NO_WATCH)
    }

    /// Stops watching a file.
    pub fn forget(&mut self, file: WatchDescriptor) {
        // The kernel refuses when the file is gone, and its watch with it.
        let _ = self.inotify.get_ref().watches().remove(file);
    }

    // ANCHOR: locate
    /// Walks from the root to the folder of the log, watches what it passes, and says where the
    /// log is; `None` when a folder is missing on the way.
    ///
    /// # Errors
    ///
    /// When the kernel has no watch left for this user, or a folder cannot be looked into.
    pub fn locate(&mut self) -> anyhow::Result<Option<Place>> {
        let mut way = names(&self.path);
        let mut folder = PathBuf::from("/");
        let mut links = 0;

        let before = mem::take(&mut self.folders);
        self.log = None;
        let mut passed = Vec::new();
        // Folders in which the next step may yet appear, or be replaced.
        let mut open_ended = Vec::new();

        let place = loop {
            // Watch first, look then: what happens in between is told.
            match self.inotify.get_ref().watches().add(&folder, NAMES) {
                Ok(watch) => self.folders.push(watch),
                Err(error) if is_missing(&error) => break None,
                // We may pass, but not watch: its parent tells when that changes.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => open_ended.extend(passed.last().cloned()),
                Err(error) => return Err(error).context(NO_WATCH),
            }
            let Some(name) = way.pop() else { break None };
            let path = folder.join(&name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_symlink() && links < LINKS => {
                    links += 1;
                    let target = fs::read_link(&path).with_context(|| format!("cannot follow the link {path:?}"))?;
                    open_ended.push(folder.clone());
                    if target.is_absolute() {
                        folder = PathBuf::from("/");
                    }
                    way.extend(names(&target));
                }
                _ if way.is_empty() => {
                    self.log = self.folders.last().map(|watch| (watch.clone(), name.clone()));
                    open_ended.push(folder.clone());
                    break Some(Place { folder, name });
                }
                Ok(_) if name == ".." => _ = folder.pop(),
                Ok(_) => passed.push(mem::replace(&mut folder, path)),
                Err(error) if is_missing(&error) => {
                    open_ended.push(folder);
                    break None;
                }
                Err(error) => return Err(error).with_context(|| format!("cannot look at {path:?}")),
            }
        };

        // The others need not tell of every file that someone makes in them.
        for folder in passed.iter().filter(|folder| !open_ended.contains(folder)) {
            let _ = self.inotify.get_ref().watches().add(folder, ITSELF);
        }
        for watch in before.into_iter().filter(|watch| !self.folders.contains(watch)) {
            self.forget(watch);
        }
        Ok(place)
    }
    // ANCHOR_END: locate
}
