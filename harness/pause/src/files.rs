//! Writes the files of a ConfigMap or Secret into a volume as the kubelet does.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// A file of a volume.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Where, relative to the volume's root.
    pub path: &'a Path,
    /// Its permissions.
    pub mode: u32,
    /// The group that owns it, if not root's.
    pub group: Option<u32>,
    /// What it holds.
    pub content: &'a [u8],
}

/// Puts files into a new folder, to which the link `..data` is then moved, so that a reader never
/// sees half of an update. What was there before is removed.
///
/// # Errors
///
/// If a file cannot be written. Readers then still see the old ones.
pub fn write(volume: &Path, files: &[File<'_>]) -> io::Result<()> {
    let old = fs::read_link(volume.join("..data")).ok();
    let generation = old
        .as_ref()
        .and_then(|name| name.to_str()?.strip_prefix("..")?.parse::<u64>().ok());
    let name = format!("..{}", generation.map_or(1, |number| number + 1));
    let folder = volume.join(&name);
    fs::create_dir(&folder)?;
    let mut top = Vec::new();
    for file in files {
        let path = folder.join(file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, file.content)?;
        chown(&path, None, file.group)?;
        fs::set_permissions(&path, Permissions::from_mode(file.mode))?;
        top.extend(
            file.path
                .components()
                .next()
                .map(|part| PathBuf::from(part.as_os_str())),
        );
    }
    symlink(&name, volume.join("..data_tmp"))?;
    fs::rename(volume.join("..data_tmp"), volume.join("..data"))?;
    for entry in &top {
        match symlink(Path::new("..data").join(entry), volume.join(entry)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for entry in fs::read_dir(volume)?.flatten() {
        let name = PathBuf::from(entry.file_name());
        if !name.as_os_str().to_string_lossy().starts_with("..") && !top.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    old.map_or(Ok(()), |old| fs::remove_dir_all(volume.join(old)))
}
