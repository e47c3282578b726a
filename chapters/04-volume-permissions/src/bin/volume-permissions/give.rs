//! Gives a folder and what is in it to an owner, with no more rights than `CAP_CHOWN`.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fmt::{self, Display};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Statx, StatxAttributes, StatxFlags, Uid,
    chownat, openat, statx,
};
use rustix::io;
use rustix::path::Arg;
use rustix::process::geteuid;

use crate::owner::Owner;

/// What was done.
#[derive(Debug)]
pub(crate) struct Given {
    folder: PathBuf,
    owner: Owner,
    /// The files, links and folders, the folder itself among them. None, if it was its owner's
    /// already.
    seen: u64,
    /// Those that had another owner.
    changed: u64,
    /// Other volumes that are mounted in the folder, and were passed over.
    mounts: u64,
}

impl Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, owner) = (self.folder.display(), self.owner);
        let Self { seen, changed, .. } = self;
        if *seen == 0 {
            return write!(f, "nothing to do: {folder} belongs to {owner}");
        }
        write!(
            f,
            "gave {folder} to {owner}: {changed} of {seen} files and folders"
        )?;
        if self.mounts > 0 {
            write!(f, "; passed over what is mounted in it: {}", self.mounts)?;
        }
        Ok(())
    }
}

// ANCHOR: give
/// Gives the folder, and all that is in it, to `owner`.
///
/// The folder itself is the last to be given. So it is the mark that all is done: a start that
/// was broken off begins again, and one after that has nothing to do, however large the volume.
pub(crate) fn give(folder: &Path, owner: Owner) -> anyhow::Result<Given> {
    let mut walk = Walk {
        folder,
        owner,
        us: geteuid(),
        several_names: HashMap::new(),
        given: Given {
            folder: folder.to_owned(),
            owner,
            seen: 0,
            changed: 0,
            mounts: 0,
        },
    };
    let is = look(CWD, folder).with_context(|| format!("cannot find {folder:?}"))?;
    ensure!(
        kind(&is) == FileType::Directory,
        "{folder:?} is no folder; DATA_PATH must name one"
    );
    if !owner.has(&is) {
        walk.contents(CWD, folder, folder, &is)?;
        walk.all_names_are_here()?;
        walk.count(&is);
        walk.give(CWD, folder, folder)?;
    }
    Ok(walk.given)
}
// ANCHOR_END: give

/// A walk through a folder, in which each entry comes after all that is in it.
struct Walk<'f> {
    /// Where it began.
    folder: &'f Path,
    owner: Owner,
    /// Who this program is.
    us: Uid,
    /// The files that have further names, and are not given yet: by what tells files apart, and
    /// with the name that was seen first.
    several_names: HashMap<FileId, (PathBuf, Names)>,
    given: Given,
}

/// The device, in two parts, and the inode.
type FileId = (u32, u32, u64);

/// How many names a file has.
struct Names {
    in_folder: u32,
    in_all: u32,
}

impl Walk<'_> {
    // ANCHOR: contents
    /// Gives what is in a folder.
    fn contents(
        &mut self,
        parent: BorrowedFd<'_>,
        name: impl Arg + Copy,
        path: &Path,
        is: &Statx,
    ) -> anyhow::Result<()> {
        // Root without further capabilities is held to permissions like everyone else, and may
        // not look into a folder that only its owner may read. It may make the folder its own.
        if is.stx_uid != self.us.as_raw() {
            self.change(parent, name, path, self.us, None)?;
        }
        let folder = open(parent, name).with_context(|| format!("cannot open {path:?}"))?;
        let cannot_read = || format!("cannot read {path:?}");
        let mut folder = Dir::new(folder).with_context(cannot_read)?;
        while let Some(entry) = folder.read() {
            let entry = entry.with_context(cannot_read)?;
            self.entry(folder.fd()?, entry.file_name(), path)?;
        }
        Ok(())
    }
    // ANCHOR_END: contents

    // ANCHOR: entry
    /// Gives an entry of a folder: a file, a link, or a folder with all that is in it.
    fn entry(&mut self, folder: BorrowedFd<'_>, name: &CStr, path: &Path) -> anyhow::Result<()> {
        if [c".", c".."].contains(&name) {
            return Ok(());
        }
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        let is = look(folder, name).with_context(|| format!("cannot look at {path:?}"))?;
        if is.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            // Another volume is mounted here, and that has an owner of its own.
            self.given.mounts += 1;
            return Ok(());
        }
        self.count(&is);
        if kind(&is) == FileType::Directory {
            // From the moment that a folder is given, it may be closed to us. So it comes after
            // all that is in it.
            self.contents(folder, name, &path, &is)?;
            self.give(folder, name, &path)?;
        } else if !self.owner.has(&is) && self.is_last_name(&path, &is) {
            self.give(folder, name, &path)?;
        }
        Ok(())
    }
    // ANCHOR_END: entry

    // ANCHOR: names
    /// Whether all names of a file have been seen with this one.
    ///
    /// A file can have a name in this folder and another one elsewhere on the volume, which is
    /// what a hard link is. To give it away here would take it from those who have it there.
    fn is_last_name(&mut self, path: &Path, is: &Statx) -> bool {
        if is.stx_nlink == 1 {
            return true;
        }
        let id = (is.stx_dev_major, is.stx_dev_minor, is.stx_ino);
        let none = || {
            let in_all = is.stx_nlink;
            (
                path.to_owned(),
                Names {
                    in_folder: 0,
                    in_all,
                },
            )
        };
        let (_, names) = self.several_names.entry(id).or_insert_with(none);
        names.in_folder += 1;
        let is_last = names.in_folder == names.in_all;
        if is_last {
            self.several_names.remove(&id);
        }
        is_last
    }
    // ANCHOR_END: names

    /// Fails if a file that was found here has a name elsewhere.
    fn all_names_are_here(&self) -> anyhow::Result<()> {
        let first = self.several_names.values().min_by_key(|(path, _)| path);
        let Some((path, Names { in_folder, in_all })) = first else {
            return Ok(());
        };
        anyhow::bail!(
            "cannot give {path:?} to {}: it has {in_all} names, and {in_folder} of them in {:?}; \
             put a copy in its place",
            self.owner,
            self.folder
        )
    }

    fn count(&mut self, is: &Statx) {
        self.given.seen += 1;
        self.given.changed += u64::from(!self.owner.has(is));
    }

    fn give(&self, parent: BorrowedFd<'_>, name: impl Arg, path: &Path) -> anyhow::Result<()> {
        let Owner { user, group } = self.owner;
        self.change(parent, name, path, user, Some(group))
    }

    fn change(
        &self,
        parent: BorrowedFd<'_>,
        name: impl Arg,
        path: &Path,
        user: Uid,
        group: Option<Gid>,
    ) -> anyhow::Result<()> {
        let changed = chownat(parent, name, Some(user), group, AtFlags::SYMLINK_NOFOLLOW);
        changed.with_context(|| {
            let without = match changed {
                Err(io::Errno::PERM) => " without the capability CHOWN",
                _ => "",
            };
            format!("cannot give {path:?} to {}{without}", self.owner)
        })
    }
}

// ANCHOR: look
/// Looks at an entry of a folder, and at itself if it is a link.
fn look(folder: BorrowedFd<'_>, name: impl Arg) -> io::Result<Statx> {
    statx(
        folder,
        name,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS,
    )
}

/// Opens a folder for reading. What has become a link since it was looked at is refused.
fn open(parent: BorrowedFd<'_>, name: impl Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}
// ANCHOR_END: look

fn kind(is: &Statx) -> FileType {
    FileType::from_raw_mode(is.stx_mode.into())
}
