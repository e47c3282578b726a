//! The reader's own folder, `work/`, which git ignores: answers, and what was solved. The variable
//! `WORKBOOK_WORK` names another one.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::{Answer, Exercise};
use crate::workspace::Workspace;

/// The variable that names another folder than `work`.
const FOLDER: &str = "WORKBOOK_WORK";
/// The file with what was solved.
const PROGRESS: &str = "progress.json";

/// No answer is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// The reader's folder.
#[derive(Debug)]
pub struct Work {
    folder: PathBuf,
    progress: Progress,
    set_aside: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// The exercises that were solved, as their folders here are called.
    solved: BTreeSet<String>,
}

impl Work {
    /// Opens the folder of a workbook, which need not be there yet.
    ///
    /// # Errors
    ///
    /// If what is there cannot be read.
    pub fn open(workspace: &Workspace) -> anyhow::Result<Self> {
        match std::env::var_os(FOLDER) {
            Some(folder) => Self::at(PathBuf::from(folder)),
            None => Self::at(workspace.root().join("work")),
        }
    }

    fn at(folder: PathBuf) -> anyhow::Result<Self> {
        let file = folder.join(PROGRESS);
        let (mut progress, mut aside) = (Progress::default(), None);
        if file.exists() {
            match serde_json::from_slice(&read(&file)?) {
                Ok(read) => progress = read,
                Err(_) => aside = Some(set_aside(&file, "unreadable")?),
            }
        }
        Ok(Self {
            folder,
            progress,
            set_aside: aside,
        })
    }

    /// What the file with what was solved is called now, if it was not what the workbook wrote: then
    /// nothing counts as solved.
    #[must_use]
    pub fn set_aside(&self) -> Option<String> {
        self.set_aside.as_deref().map(shown)
    }

    /// Whether an exercise was solved.
    #[must_use]
    pub fn is_solved(&self, exercise: &Exercise) -> bool {
        self.progress.solved.contains(&own(exercise))
    }

    /// Notes that an exercise was solved.
    ///
    /// # Errors
    ///
    /// If that cannot be written down.
    pub fn mark_solved(&mut self, exercise: &Exercise) -> anyhow::Result<()> {
        if self.progress.solved.insert(own(exercise)) {
            let file = self.folder.join(PROGRESS);
            let text = serde_json::to_string_pretty(&self.progress)?;
            replace(&file, format!("{text}\n").as_bytes())?;
        }
        Ok(())
    }

    /// The file of the reader's answer.
    #[must_use]
    pub fn file(&self, exercise: &Exercise) -> PathBuf {
        self.folder.join(own(exercise)).join(exercise.form.file())
    }

    /// What the file of the reader's answer is called: as short as it can be.
    #[must_use]
    pub fn name(&self, exercise: &Exercise) -> String {
        shown(&self.file(exercise))
    }

    /// What stands in the file of the reader's answer, or why it cannot be read; nothing if there is
    /// none.
    #[must_use]
    pub fn look(&self, exercise: &Exercise) -> Option<Result<Vec<u8>, String>> {
        let file = self.file(exercise);
        let look = || read(&file).map_err(|error| format!("{error:#}"));
        file.exists().then(look)
    }

    /// The reader's answer; the starter is put there first if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read or written.
    pub fn answer(&self, exercise: &Exercise) -> anyhow::Result<Answer> {
        let file = self.file(exercise);
        if !file.exists() {
            replace(&file, exercise.starter()?.text.as_bytes())?;
        }
        Answer::read(&file, Path::new(&self.name(exercise)))
    }

    /// Puts the starter in the place of the reader's answer, which is kept beside it. Returns what
    /// that is called then.
    ///
    /// # Errors
    ///
    /// If it cannot be read or written.
    pub fn reset(&self, exercise: &Exercise) -> anyhow::Result<Option<String>> {
        let (file, starter) = (self.file(exercise), exercise.starter()?.text);
        let kept = match self.look(exercise) {
            Some(answer) if answer.as_deref() != Ok(starter.as_bytes()) => {
                Some(shown(&set_aside(&file, "before-reset")?))
            }
            _ => None,
        };
        replace(&file, starter.as_bytes())?;
        Ok(kept)
    }
}

/// What the folder of an exercise is called. That of a fault does not tell its cause.
fn own(exercise: &Exercise) -> String {
    match exercise.is_fault() {
        true => format!("fault-{}", exercise.number),
        false => exercise.folder.clone(),
    }
}

/// What a file is called: as short as it can be from the current folder.
fn shown(file: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(here)
        .unwrap_or(file)
        .display()
        .to_string()
}

/// Reads what somebody has written. What is no file may never end, and a file may be as long as the
/// memory.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot_read = || format!("cannot read {}", file.display());
    let meta = fs::metadata(file).with_context(cannot_read)?;
    ensure!(meta.is_file(), "{} is no regular file", file.display());
    let mut text = Vec::new();
    let mut start = fs::File::open(file)
        .with_context(cannot_read)?
        .take(LONGEST + 1);
    start.read_to_end(&mut text).with_context(cannot_read)?;
    ensure!(
        text.len() as u64 <= LONGEST,
        "{} is longer than 1 MiB, which no answer is",
        file.display()
    );
    Ok(text)
}

/// Gives a file another name, which says why and is no other file's, and returns it.
fn set_aside(file: &Path, why: &str) -> anyhow::Result<PathBuf> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let named = |count: u32| file.with_file_name(format!("{name}.{why}-{count}"));
    let mut count = 1;
    while named(count).exists() {
        count += 1;
    }
    let aside = named(count);
    fs::rename(file, &aside).with_context(|| format!("cannot write {}", aside.display()))?;
    Ok(aside)
}

/// Writes a file as a whole or not at all.
fn replace(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let folder = file.parent().unwrap_or(file);
        fs::create_dir_all(folder)?;
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut new, content)?;
        new.persist(file)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exercise() -> Exercise {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Workspace::at(root).exercises().unwrap().remove(0)
    }

    #[test]
    fn an_answer_begins_as_the_starter_and_can_be_put_back() {
        let (folder, exercise) = (tempfile::tempdir().unwrap(), exercise());
        let work = Work::at(folder.path().join("work")).unwrap();
        let starter = exercise.starter().unwrap().text;
        assert_eq!(work.answer(&exercise).unwrap().text, starter);
        assert_eq!(work.reset(&exercise).unwrap(), None, "nothing was written");

        let file = work.file(&exercise);
        fs::write(&file, "mine").unwrap();
        assert_eq!(work.answer(&exercise).unwrap().text, "mine");
        let kept = work.reset(&exercise).unwrap().unwrap();
        assert_eq!(fs::read_to_string(kept).unwrap(), "mine");
        assert_eq!(fs::read(&file).unwrap(), starter.as_bytes());
    }

    #[test]
    fn what_is_no_answer_is_not_read_and_not_lost() {
        let (folder, exercise) = (tempfile::tempdir().unwrap(), exercise());
        let work = Work::at(folder.path().to_owned()).unwrap();
        let file = work.file(&exercise);
        assert_eq!(work.look(&exercise), None);
        let refused = |expected: &str| {
            let error = format!("{:#}", work.answer(&exercise).unwrap_err());
            assert!(error.contains(expected), "{error}");
            let kept = work.reset(&exercise).unwrap().unwrap();
            assert!(fs::symlink_metadata(kept).is_ok());
            work.answer(&exercise).unwrap();
        };
        work.answer(&exercise).unwrap();
        fs::write(&file, [0xff, 0xfe]).unwrap();
        refused("utf-8");
        fs::write(&file, vec![b'#'; 1 << 20]).unwrap();
        assert_eq!(work.answer(&exercise).unwrap().text.len(), 1 << 20);
        fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
        refused("is longer than 1 MiB");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        refused("is no regular file");
        #[cfg(target_os = "linux")]
        {
            fs::remove_file(&file).unwrap();
            nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
            refused("is no regular file");
        }
    }

    #[test]
    fn what_is_solved_stays_so() {
        let (folder, exercise) = (tempfile::tempdir().unwrap(), exercise());
        let open = || Work::at(folder.path().to_owned());
        let mut work = open().unwrap();
        assert!(!work.is_solved(&exercise));
        work.mark_solved(&exercise).unwrap();
        assert!(open().unwrap().is_solved(&exercise));

        assert_eq!(open().unwrap().set_aside(), None);

        // What cannot be read is not written over.
        let file = folder.path().join(PROGRESS);
        fs::write(&file, "{").unwrap();
        let mut work = open().unwrap();
        assert!(!work.is_solved(&exercise));
        work.mark_solved(&exercise).unwrap();
        let kept = work.set_aside().unwrap();
        assert!(kept.ends_with("progress.json.unreadable-1"), "{kept}");
        assert_eq!(fs::read_to_string(kept).unwrap(), "{");
        assert!(open().unwrap().is_solved(&exercise));
    }
}
