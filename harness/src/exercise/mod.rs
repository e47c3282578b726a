//! Exercises: what a reader is asked, and how an answer is checked.
//!
//! An exercise is a folder, `exercises/NN-name`:
//!
//! ```text
//! exercise.toml        what is asked and why, the hint, what is said afterwards
//! check.toml           how an answer is run, and what must come of it
//! starter/             what the reader begins with
//! solutions/NAME/      answers that are right
//! mistakes/NAME/       answers that are wrong, each with `mistake.toml`: what is said to it;
//!                      one without an answer is that of the starter
//! hard-coded/          an answer that pretends
//! ```
//!
//! An answer is one file. What that is called decides what it is, see [`Form`]: a pod; a program
//! of the pod that stands beside `exercise.toml`; or what somebody foretells of that pod. It is
//! judged by what its pod does, never by how it is written: `check.toml` is a scenario with
//! expectations. What `exercise.toml` lists under `vary` is decided by chance for each check, from a
//! seed, and stands in `check.toml` as `{name}`.
//!
//! What is said to a wrong answer is looked up among the mistakes: the one whose conditions hold,
//! of the manifest and of the recording. To a mistake that nobody foresaw, the facts are told and
//! nothing else.
//!
//! A fault, `faults/NN-name`, is an exercise about a pod that breaks. Its folder is named after the
//! cause, which its reader is to find among those of `causes.toml` first.

mod check;
mod mistake;
mod predict;
mod vary;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;

pub use check::{Answer, Checked, Finding};
use mistake::Mistake;
pub use vary::Seed;
pub use work::Work;

use crate::image::{Image, Progress};
use crate::workspace::{Chapter, Workspace, programs_named};
use check::Check;
use vary::Vary;

/// The manifest of an exercise whose answer is none.
const POD: &str = "pod.yaml";

/// The folders of the workbook that hold exercises and faults.
pub(crate) const EXERCISES: &str = "exercises";
pub(crate) const FAULTS: &str = "faults";

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The pod itself: `pod.yaml`.
    Manifest,
    /// A program of the pod, in Rust: `main.rs`. The crate in the exercise's folder `program` has
    /// the exercise's name, and compiles the answer that the variable `ANSWER` names.
    Program,
    /// What will happen to the pod: `prediction.toml`.
    Prediction,
}

impl Form {
    const ALL: [Self; 3] = [Self::Manifest, Self::Program, Self::Prediction];

    /// The file of an answer.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Manifest => POD,
            Self::Program => "main.rs",
            Self::Prediction => "prediction.toml",
        }
    }
}

/// An exercise, or a fault.
#[derive(Clone, Debug)]
pub struct Exercise {
    /// Its number, which its folder's name begins with.
    pub number: u32,
    /// The folder's name, as `01-mount-the-volume`.
    pub folder: String,
    /// The folder's name without the number.
    pub name: String,
    /// What an answer is.
    pub form: Form,
    /// The texts, as they stand in `exercise.toml`.
    pub texts: Texts,
    /// What may be the cause, if it is a fault.
    pub causes: Vec<Cause>,
    /// The chapter that it belongs to.
    pub chapter: Chapter,
    workspace: Workspace,
    /// From the workspace's root.
    path: PathBuf,
}

/// What may be the cause of a fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// The cause, in one line.
    pub text: String,
    /// Why it is another one; nothing for the one that is right.
    #[serde(default)]
    pub says: Option<String>,
    #[serde(default)]
    right: bool,
}

/// `causes.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Causes {
    #[serde(rename = "cause")]
    causes: Vec<Cause>,
}

impl Causes {
    fn check(&self) -> anyhow::Result<()> {
        let right = self.causes.iter().filter(|cause| cause.right).count();
        ensure!(right == 1, "{right} causes are right, and one should be");
        let is_clear = |cause: &Cause| cause.right == cause.says.is_none();
        ensure!(
            self.causes.iter().all(is_clear),
            "each cause but the right one `says` why it is not the cause"
        );
        Ok(())
    }
}

/// What an exercise says: `exercise.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Texts {
    /// The title.
    pub title: String,
    /// The number of the chapter that it belongs to.
    pub chapter: u32,
    /// What the reader is to do.
    pub asks: String,
    /// Why it matters.
    pub why: String,
    /// A hint for who is stuck; it asks back.
    pub hint: String,
    /// What is said when it is solved: the reason, and what else is right.
    pub explains: String,
    /// What chance decides.
    #[serde(default)]
    vary: BTreeMap<String, Vary>,
}

impl Texts {
    /// Every text that a reader sees.
    #[must_use]
    pub fn all(&self) -> [&str; 5] {
        [
            &self.title,
            &self.asks,
            &self.why,
            &self.hint,
            &self.explains,
        ]
    }
}

impl Exercise {
    /// Loads one from a folder below `of`, which is `exercises` or `faults`.
    pub(crate) fn load(
        workspace: &Workspace,
        of: &str,
        number: u32,
        name: &str,
        folder: &str,
    ) -> anyhow::Result<Self> {
        let path = Path::new(of).join(folder);
        let whole = workspace.root().join(&path);
        let texts = toml_in::<Texts>(&whole, "exercise.toml");
        let texts =
            texts.with_context(|| format!("{}/exercise.toml is no exercise", path.display()))?;
        let chapter = workspace.select(&texts.chapter.to_string());
        let chapter = chapter
            .with_context(|| format!("{}/exercise.toml names its chapter", path.display()))?
            .remove(0);
        let has_starter = |form: &Form| whole.join("starter").join(form.file()).is_file();
        let form = Form::ALL.into_iter().find(has_starter).with_context(|| {
            let files = Form::ALL.map(Form::file).join(", ");
            format!("{}/starter has none of: {files}", path.display())
        })?;
        let causes = match of {
            FAULTS => {
                let causes = toml_in::<Causes>(&whole, "causes.toml");
                let checked = causes.and_then(|causes| causes.check().map(|()| causes.causes));
                checked.with_context(|| format!("{}/causes.toml", path.display()))?
            }
            _ => Vec::new(),
        };
        Ok(Self {
            number,
            folder: folder.to_owned(),
            name: name.to_owned(),
            form,
            texts,
            causes,
            chapter,
            workspace: workspace.clone(),
            path,
        })
    }

    /// Whether it is a fault, whose name tells its cause.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        !self.causes.is_empty()
    }

    /// The answer that a reader begins with.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn starter(&self) -> anyhow::Result<Answer> {
        self.answer("starter")
    }

    /// The answer that pretends to be one.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn hard_coded(&self) -> anyhow::Result<Answer> {
        self.answer("hard-coded")
    }

    /// The answers that are right, by name.
    ///
    /// # Errors
    ///
    /// If one cannot be read.
    pub fn solutions(&self) -> anyhow::Result<BTreeMap<String, Answer>> {
        let names = self.names_in("solutions")?.into_iter();
        names
            .map(|name| Ok((name.clone(), self.answer(&format!("solutions/{name}"))?)))
            .collect()
    }

    /// The names of the mistakes that are known.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or there are none.
    pub fn mistakes(&self) -> anyhow::Result<Vec<String>> {
        self.names_in("mistakes")
    }

    /// The mistakes that are known, by name, with what this seed decides.
    fn mistakes_for(&self, seed: Seed) -> anyhow::Result<BTreeMap<String, Mistake>> {
        let varied = self.varied(seed);
        let mut mistakes = BTreeMap::new();
        for name in self.mistakes()? {
            let folder = format!("mistakes/{name}");
            let read = || -> anyhow::Result<_> {
                let text = read(&self.whole().join(&folder).join("mistake.toml"))?;
                Mistake::parse(&text, &varied)
            };
            let mistake =
                read().with_context(|| format!("{}/{folder}/mistake.toml", self.path.display()))?;
            mistakes.insert(name, mistake);
        }
        Ok(mistakes)
    }

    /// The answer that makes a known mistake: the one beside it, else the starter.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn mistaken(&self, mistake: &str) -> anyhow::Result<Answer> {
        let of = format!("mistakes/{mistake}");
        match self.whole().join(&of).join(self.form.file()).exists() {
            true => self.answer(&of),
            false => self.starter(),
        }
    }

    /// The pod that an answer is about, where it is not the answer.
    pub(crate) fn pod(&self) -> anyhow::Result<Answer> {
        Answer::read(&self.whole().join(POD), &self.path.join(POD))
    }

    /// The programs of its pods.
    fn programs(&self) -> anyhow::Result<BTreeSet<String>> {
        if self.form != Form::Manifest {
            return Ok(programs_named(&self.pod()?.text));
        }
        let mut programs = programs_named(&self.starter()?.text);
        programs.extend(programs_named(&self.hard_coded()?.text));
        for answer in self.solutions()?.values() {
            programs.extend(programs_named(&answer.text));
        }
        for mistake in self.mistakes()? {
            programs.extend(programs_named(&self.mistaken(&mistake)?.text));
        }
        Ok(programs)
    }

    /// How an answer is checked, with what this seed decides.
    fn check_for(&self, seed: Seed) -> anyhow::Result<Check> {
        let file = self.whole().join("check.toml");
        let read = || Check::parse(&read(&file)?, &self.varied(seed));
        read().with_context(|| format!("{}/check.toml", self.path.display()))
    }

    /// What a seed decides, by name.
    fn varied(&self, seed: Seed) -> BTreeMap<String, String> {
        vary::decide(&self.texts.vary, seed)
    }

    fn whole(&self) -> PathBuf {
        self.workspace.root().join(&self.path)
    }

    fn answer(&self, of: &str) -> anyhow::Result<Answer> {
        let path = self.path.join(of).join(self.form.file());
        Answer::read(&self.workspace.root().join(&path), &path)
    }

    fn names_in(&self, folder: &str) -> anyhow::Result<Vec<String>> {
        let path = self.whole().join(folder);
        let mut names = Vec::new();
        for entry in
            fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?
        {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        ensure!(!names.is_empty(), "{} is empty", path.display());
        Ok(names)
    }
}

/// Compiles the programs of the exercises' pods, each once, and returns their images.
///
/// # Errors
///
/// As [`Chapter::build`], or if an answer cannot be read.
pub fn build(
    workspace: &Workspace,
    exercises: &[Exercise],
    progress: &mut dyn FnMut(Progress<'_>),
) -> anyhow::Result<Vec<Image>> {
    let mut programs = BTreeSet::new();
    for exercise in exercises {
        programs.extend(exercise.programs()?);
    }
    workspace.build(workspace.owners(programs)?, progress)
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn toml_in<T: serde::de::DeserializeOwned>(folder: &Path, file: &str) -> anyhow::Result<T> {
    Ok(toml::from_str(&read(&folder.join(file))?)?)
}
