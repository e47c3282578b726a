//! The file of limits, read again when it changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use futures_util::{FutureExt, StreamExt};
use inotify::{EventStream, Inotify, WatchMask};

use crate::limiter::Limiter;
use crate::limits::Limits;

/// A file of limits, and the kernel's word that it may have changed.
///
/// What is watched is the file's folder. A ConfigMap's volume does not write to its files: it
/// makes a folder with new ones, and then lets the link `..data`, through which all files are
/// seen, lead there
/// ([Kubernetes: ConfigMaps](https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically)).
/// Who edits a file by hand writes to it, or puts another in its place. Each of these is a
/// change in the folder; whether the text is another is seen by reading it.
pub struct LimitsFile {
    path: PathBuf,
    changes: EventStream<Vec<u8>>,
    /// What was read last: the file's text, or why there is none.
    last: Result<String, String>,
}

impl LimitsFile {
    /// Begins to watch a file, reads it, and prints its limits.
    ///
    /// # Errors
    ///
    /// If it cannot be watched or read, or does not hold limits. Says so in one line.
    pub fn open(path: &Path) -> anyhow::Result<(Self, Limits)> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let inotify = Inotify::init().context(
            "cannot watch files: inotify refuses; a higher fs.inotify.max_user_instances may do",
        )?;
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MODIFY
            | WatchMask::CLOSE_WRITE
            | WatchMask::DELETE;
        // Watch first, read then: what happens in between is told.
        inotify
            .watches()
            .add(folder, mask)
            .with_context(|| format!("cannot watch {}", folder.display()))?;
        let mut file = Self {
            path: path.to_owned(),
            changes: inotify.into_event_stream(vec![0; 4096])?,
            last: Err(String::new()),
        };
        file.last = file.read();
        let limits = file.limits().map_err(|why| anyhow!(why))?;
        say(&limits);
        Ok((file, limits))
    }

    /// Waits until the file is another than it was, and reads it.
    ///
    /// The limits are an error where the file cannot be read or does not hold limits, which is
    /// said in one line.
    ///
    /// # Errors
    ///
    /// If it can be watched no longer.
    pub async fn changed(&mut self) -> anyhow::Result<Result<Limits, String>> {
        loop {
            let change = self.changes.next().await.context("inotify has ended")?;
            change.context("cannot watch the limits any longer")?;
            // Of changes that came together, the file is read once.
            while let Some(more) = self.changes.next().now_or_never().flatten() {
                more.context("cannot watch the limits any longer")?;
            }
            let now = self.read();
            if now != self.last {
                self.last = now;
                return Ok(self.limits());
            }
        }
    }

    // ANCHOR: follow
    /// Gives a limiter the limits of the file whenever it changes, for as long as it is polled.
    ///
    /// A file that is broken changes nothing: it is said, and the limits that were good last
    /// stay.
    pub async fn follow(mut self, limiter: &Limiter) {
        loop {
            match self.changed().await {
                Ok(Ok(limits)) => {
                    say(&limits);
                    limiter.set(limits);
                }
                Ok(Err(why)) => println!("the limits stay as they were: {why}"),
                Err(error) => {
                    println!("the limits stay as they are from now on: {error:#}");
                    return;
                }
            }
        }
    }
    // ANCHOR_END: follow

    fn read(&self) -> Result<String, String> {
        fs::read_to_string(&self.path).map_err(|error| error.to_string())
    }

    fn limits(&self) -> Result<Limits, String> {
        let limits = match &self.last {
            Ok(text) => Limits::parse(text),
            Err(why) => Err(why.clone()),
        };
        limits.map_err(|why| format!("{}: {why}", self.path.display()))
    }
}

/// Prints the limits that hold from now on.
fn say(limits: &Limits) {
    for limit in limits.iter() {
        println!("limit of {limit}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    fn limit(burst: u32) -> String {
        format!("[[limit]]\npath = '/'\nrate = '1/s'\nburst = {burst}\n")
    }

    /// A folder as the kubelet makes it for a ConfigMap.
    fn publish(volume: &Path, generation: u32, file: Option<&str>) {
        let name = format!("..generation_{generation}");
        let folder = volume.join(&name);
        fs::create_dir(&folder).unwrap();
        if let Some(text) = file {
            fs::write(folder.join("limits.toml"), text).unwrap();
        }
        symlink(&name, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        let link = volume.join("limits.toml");
        if fs::symlink_metadata(&link).is_err() {
            symlink("..data/limits.toml", link).unwrap();
        }
        if generation > 1 {
            let old = volume.join(format!("..generation_{}", generation - 1));
            fs::remove_dir_all(old).unwrap();
        }
    }

    async fn next(file: &mut LimitsFile) -> Result<String, String> {
        let changed = timeout(Duration::from_secs(60), file.changed());
        let limits = changed.await.expect("the change is seen").unwrap()?;
        let lines: Vec<_> = limits.iter().map(ToString::to_string).collect();
        Ok(lines.join("; "))
    }

    async fn nothing(file: &mut LimitsFile) {
        let changed = timeout(Duration::from_millis(50), file.changed());
        changed.await.expect_err("nothing has changed");
    }

    #[tokio::test]
    async fn a_config_map_that_changes() {
        let volume = TempDir::new().unwrap();
        publish(volume.path(), 1, Some(&limit(1)));
        let path = volume.path().join("limits.toml");
        let (mut file, limits) = LimitsFile::open(&path).unwrap();
        assert_eq!(limits.iter().next().unwrap().to_string(), "/: 1/s, burst 1");

        publish(volume.path(), 2, Some(&limit(2)));
        assert_eq!(next(&mut file).await.unwrap(), "/: 1/s, burst 2");
        // Another generation with the same text is no change.
        publish(volume.path(), 3, Some(&limit(2)));
        nothing(&mut file).await;
        publish(volume.path(), 4, Some("[[limit]]\npath = '/'"));
        let why = next(&mut file).await.unwrap_err();
        assert!(
            why.ends_with("limits.toml: line 1: missing field `rate`"),
            "{why}"
        );
        publish(volume.path(), 5, None);
        let why = next(&mut file).await.unwrap_err();
        assert!(
            why.ends_with("limits.toml: No such file or directory (os error 2)"),
            "{why}"
        );
        publish(volume.path(), 6, Some(&limit(3)));
        assert_eq!(next(&mut file).await.unwrap(), "/: 1/s, burst 3");
    }

    #[tokio::test]
    async fn a_file_that_is_edited_by_hand() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("limits.toml");
        fs::write(&path, limit(1)).unwrap();
        let (mut file, _) = LimitsFile::open(&path).unwrap();

        // As `>` in a shell writes, whose file is empty for a moment, and as an editor does.
        fs::write(&path, limit(2)).unwrap();
        let mut seen = next(&mut file).await;
        if seen
            .as_ref()
            .is_err_and(|why| why.ends_with("it has no [[limit]]"))
        {
            seen = next(&mut file).await;
        }
        assert_eq!(seen.unwrap(), "/: 1/s, burst 2");
        fs::write(folder.path().join("new"), limit(3)).unwrap();
        nothing(&mut file).await;
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(next(&mut file).await.unwrap(), "/: 1/s, burst 3");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("limits.toml");
        let error = LimitsFile::open(&path.join("more")).err().unwrap();
        assert!(
            format!("{error:#}").starts_with("cannot watch "),
            "{error:#}"
        );
    }
}
