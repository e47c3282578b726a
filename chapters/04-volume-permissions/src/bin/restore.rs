//! Stands in for whatever fills a volume before the app starts: a restore from a backup, a
//! download, a copy out of another image. The backup is in the program, and what is done with it
//! is what such tools do.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use rustix::fs::Mode;
use rustix::process::umask;
use sidecar_kit::{Setting, setting};

// ANCHOR: backup
/// The folders of the backup, below the one that is restored, and their modes.
const FOLDERS: [(&str, u32); 2] = [("", 0o777), ("archive", 0o700)];

/// Its files.
const FILES: [(&str, &str); 2] = [
    ("entries.txt", "entry 1\nentry 2\n"),
    ("archive/2025.txt", "an older entry\n"),
];

/// A symbolic link, and where it leads: to a path of the machine that the backup was made on.
const LINK: (&str, &str) = ("latest", "/srv/journal/entries.txt");
// ANCHOR_END: backup

fn main() -> ExitCode {
    let folder: PathBuf = setting("DATA_PATH", "/data/journal");
    let Umask(mask) = setting("UMASK", "022");
    umask(mask);
    match restore(&folder) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

// ANCHOR: restore
/// Restores the folder, and says whose it is now.
fn restore(folder: &Path) -> anyhow::Result<String> {
    // A pod that is started anew on its node has its volume still, and the entries of the app.
    if folder.exists() {
        return Ok(format!("nothing to restore: {} is there", folder.display()));
    }
    // Whoever sees the folder sees all of it: a restore that was killed has left a draft.
    let draft = folder.with_extension("part");
    write(&draft)
        .and_then(|()| fs::rename(&draft, folder))
        .with_context(|| format!("cannot restore {}", folder.display()))?;
    let is = fs::symlink_metadata(folder)?;
    let (folder, mode) = (folder.display(), is.mode() & 0o7777);
    let (user, group) = (is.uid(), is.gid());
    Ok(format!(
        "restored {folder}: owner {user}:{group}, mode {mode:o}"
    ))
}
// ANCHOR_END: restore

fn write(draft: &Path) -> io::Result<()> {
    match fs::remove_dir_all(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for (name, mode) in FOLDERS {
        DirBuilder::new().mode(mode).create(draft.join(name))?;
    }
    for (name, text) in FILES {
        let mut file = File::options();
        file.mode(0o666).write(true).create_new(true);
        file.open(draft.join(name))?.write_all(text.as_bytes())?;
    }
    symlink(LINK.1, draft.join(LINK.0))
}

/// Which permissions are taken from everything that is restored, as `umask(2)` has it.
struct Umask(Mode);

impl Setting for Umask {
    const EXAMPLE: &'static str = "022 or 002";

    fn parse(value: &str) -> Result<Self, String> {
        match u32::from_str_radix(value, 8) {
            Ok(mask) if mask <= 0o777 => Ok(Self(Mode::from_bits_truncate(mask))),
            _ => Err("it is no octal number up to 777".to_owned()),
        }
    }
}
