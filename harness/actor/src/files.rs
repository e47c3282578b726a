//! Reads, writes and looks at files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Prints what came of something: text, or the kernel's name for the error.
pub(crate) fn tell(what: &str, result: io::Result<String>) {
    match result {
        Ok(text) => println!("{what}: {text}"),
        Err(error) => println!("{what}: {}", error_name(&error)),
    }
}

/// The kernel's name for an error, as `EACCES`.
pub(crate) fn error_name(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.to_string(),
        |number| format!("{:?}", Errno::from_raw(number)),
    )
}

fn done(result: io::Result<()>) -> io::Result<String> {
    result.map(|()| "done".to_owned())
}

pub(crate) fn read(path: &str) -> io::Result<String> {
    fs::read(path).map(|content| String::from_utf8_lossy(&content).trim_end().to_owned())
}

pub(crate) fn write(path: &str, text: &str) -> io::Result<String> {
    done(fs::write(path, text))
}

pub(crate) fn append(path: &str, text: &str) -> io::Result<String> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    done(file.write_all(format!("{text}\n").as_bytes()))
}

/// Writes so many MiB, or as many as go in.
pub(crate) fn fill(path: &str, mebibytes: u64) -> io::Result<String> {
    let mut file = File::create(path)?;
    for written in 0..mebibytes {
        if let Err(error) = file.write_all(&[b'x'; 1 << 20]) {
            return Ok(format!("{} after {written} MiB", error_name(&error)));
        }
    }
    Ok(format!("{mebibytes} MiB"))
}

/// Kind, mode, owner.
pub(crate) fn stat(path: &str) -> io::Result<String> {
    let about = fs::metadata(path)?;
    let kind = if about.is_dir() { "folder" } else { "file" };
    Ok(format!(
        "{kind} {:o} {}:{}",
        about.mode() & 0o7777,
        about.uid(),
        about.gid()
    ))
}

pub(crate) fn list(path: &str) -> io::Result<String> {
    let mut names: Vec<String> = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    Ok(names.join(" "))
}

pub(crate) fn make_folder(path: &str) -> io::Result<String> {
    done(fs::create_dir(path))
}

pub(crate) fn link(target: &str, path: &str) -> io::Result<String> {
    done(symlink(target, path))
}

pub(crate) fn own(path: &str, user: u32, group: u32) -> io::Result<String> {
    done(chown(path, Some(user), Some(group)))
}

/// Returns when the file is there. Its folder must be.
pub(crate) fn wait_for(path: &str) {
    let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).expect("the kernel has inotify");
    let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    inotify
        .add_watch(folder, flags)
        .expect("the folder can be watched");
    while !Path::new(path).exists() {
        inotify.read_events().expect("inotify can be read");
    }
}

/// Ends with the exit code that is meant for this start: the first for the first, and so on. After
/// the last it goes on.
pub(crate) fn turn(path: &str, codes: &[&str]) {
    let before = fs::read(path).map_or(0, |turns| turns.len());
    fs::write(path, vec![b'x'; before + 1]).expect("the count can be kept");
    if let Some(code) = codes.get(before) {
        std::process::exit(crate::number(code));
    }
}

/// From now on reads a file again and again, and prints what it holds whenever that has changed. A
/// path that changes while it is followed leads nowhere for a moment; that is not printed.
pub(crate) fn watch(path: &str) {
    let path = path.to_owned();
    std::thread::spawn(move || {
        let mut last = String::new();
        loop {
            let now = match read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                now => now.unwrap_or_else(|error| error_name(&error)),
            };
            if now != last {
                println!("{path}: {now}");
                last = now;
            }
        }
    });
}
