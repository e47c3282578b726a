//! The workbook's folders: which chapters there are, and what each has. Nothing lists them but
//! the folders themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::exercise::{EXERCISES, Exercise, FAULTS};
use crate::image::{self, Image, Progress};
use crate::manifest::Manifest;
use crate::manifest::pod::Pod;
use crate::recording::Recording;
use crate::scenario::Scenario;
use crate::snapshot::{self, Verdict};

/// The scenario that a chapter runs unless another one is named.
pub const HEALTHY: &str = "healthy";

/// Programs, by the package that each belongs to.
pub(crate) type Programs = BTreeMap<String, BTreeSet<String>>;

/// A checkout of the workbook.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

/// A chapter of the workbook.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// Its number, which its folder's name begins with.
    pub number: u32,
    /// The folder's name, as `02-input-poller`.
    pub folder: String,
    /// The crate's name, as `input-poller`.
    pub name: String,
    /// The title.
    pub title: String,
    /// One sentence on what it shows.
    pub summary: String,
    root: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChapterFile {
    title: String,
    summary: String,
}

impl Workspace {
    /// Finds the workbook that the current folder belongs to.
    ///
    /// # Errors
    ///
    /// If no folder from here up holds one.
    pub fn find() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("cannot tell the current folder")?;
        let root = here
            .ancestors()
            .find(|folder| folder.join("Cargo.toml").is_file() && folder.join("chapters").is_dir());
        let root = root.with_context(|| {
            format!(
                "{} is not inside the workbook; change into its folder",
                here.display()
            )
        })?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The workbook in a folder that is known.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder with the workspace's `Cargo.toml`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder for what the harness makes: images, recordings.
    ///
    /// # Errors
    ///
    /// As [`target`](Self::target).
    pub fn output(&self) -> anyhow::Result<PathBuf> {
        Ok(self.target()?.join("workbook"))
    }

    /// The folder for all that is built.
    ///
    /// # Errors
    ///
    /// If the current folder cannot be told, which a relative `CARGO_TARGET_DIR` needs.
    pub fn target(&self) -> anyhow::Result<PathBuf> {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => {
                std::path::absolute(folder).context("cannot tell what CARGO_TARGET_DIR names")
            }
            None => Ok(self.root.join("target")),
        }
    }

    /// All chapters, by number.
    ///
    /// # Errors
    ///
    /// If a folder under `chapters/` is not a chapter: says what it lacks.
    pub fn chapters(&self) -> anyhow::Result<Vec<Chapter>> {
        self.folders("chapters")?
            .iter()
            .map(|folder| self.chapter_in(folder))
            .collect()
    }

    /// All exercises, by number.
    ///
    /// # Errors
    ///
    /// If a folder under `exercises/` is not an exercise: says what it lacks.
    pub fn exercises(&self) -> anyhow::Result<Vec<Exercise>> {
        self.exercises_in(EXERCISES)
    }

    /// All faults, by number.
    ///
    /// # Errors
    ///
    /// If a folder under `faults/` is not a fault: says what it lacks.
    pub fn faults(&self) -> anyhow::Result<Vec<Exercise>> {
        self.exercises_in(FAULTS)
    }

    fn exercises_in(&self, of: &str) -> anyhow::Result<Vec<Exercise>> {
        let folders = self.folders(of)?.into_iter();
        folders
            .map(|folder| Exercise::load(self, of, folder.number, &folder.name, &folder.folder))
            .collect()
    }

    /// The path of an exercise's folder that is to be made.
    ///
    /// # Errors
    ///
    /// If exercises are not named like that, or one has its number or its name.
    pub fn new_exercise(&self, folder: &str) -> anyhow::Result<PathBuf> {
        let new = Folder::parse(EXERCISES, folder.to_owned())?;
        let is_plain = |part: &str| {
            part.starts_with(|of: char| of.is_ascii_lowercase())
                && part
                    .chars()
                    .all(|of| of.is_ascii_lowercase() || of.is_ascii_digit())
        };
        ensure!(
            new.name.split('-').all(is_plain),
            "{EXERCISES}/{folder} is not named as NN-name, with words of a-z and 0-9, such as \
             12-follow-the-rotation"
        );
        for there in self.folders(EXERCISES)? {
            let is_free = there.number != new.number && there.name != new.name;
            ensure!(
                is_free,
                "{EXERCISES}/{} is there already: number and name are its own",
                there.folder
            );
        }
        Ok(self.root.join(EXERCISES).join(folder))
    }

    /// The chapters that `wanted` names: a number, a name, or `all`. The others need not be whole.
    ///
    /// # Errors
    ///
    /// If there is no such chapter: names those that there are.
    pub fn select(&self, wanted: &str) -> anyhow::Result<Vec<Chapter>> {
        if wanted == "all" {
            return self.chapters();
        }
        let folders = self.folders("chapters")?;
        let number = wanted.parse::<u32>().ok();
        let is_meant = |folder: &&Folder| {
            Some(folder.number) == number || folder.name == wanted || folder.folder == wanted
        };
        match folders.iter().find(is_meant) {
            Some(folder) => Ok(vec![self.chapter_in(folder)?]),
            None => {
                let names: Vec<_> = folders
                    .iter()
                    .map(|folder| format!("{} {}", folder.number, folder.name))
                    .collect();
                bail!(
                    "there is no chapter `{wanted}`; there are: {}",
                    names.join(", ")
                )
            }
        }
    }

    /// The numbered folders in one of the workbook's.
    fn folders(&self, of: &str) -> anyhow::Result<Vec<Folder>> {
        let path = self.root.join(of);
        let mut folders = Vec::new();
        for entry in
            fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?
        {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let name = entry.file_name().to_string_lossy().into_owned();
                folders.push(Folder::parse(of, name)?);
            }
        }
        folders.sort_by_key(|folder| folder.number);
        for pair in folders.windows(2) {
            let [one, other] = [&pair[0], &pair[1]];
            ensure!(
                one.number != other.number,
                "{of}/{} and {of}/{} have the same number",
                one.folder,
                other.folder
            );
        }
        Ok(folders)
    }

    /// The packages that programs belong to. An image is called by its program alone, so that a
    /// program is built in one place only, and is the same wherever it runs.
    pub(crate) fn owners(&self, named: BTreeSet<String>) -> anyhow::Result<Programs> {
        let has = |folder: &str, program: &str| {
            let programs = self.root.join("chapters").join(folder).join("src/bin");
            let files = [format!("{program}.rs"), format!("{program}/main.rs")];
            files.iter().any(|file| programs.join(file).is_file())
        };
        let chapters = self.folders("chapters")?;
        // A program that somebody writes for an exercise is named as the exercise, as is its package.
        let exercises = self.folders(EXERCISES)?;
        let mut owners = Programs::new();
        for program in named {
            let of_chapter = chapters.iter().find(|of| has(&of.folder, &program));
            let of_exercise = exercises.iter().find(|of| {
                let package = self.root.join(EXERCISES).join(&of.folder).join("program");
                of.name == program && package.is_dir()
            });
            let owner = of_chapter.or(of_exercise);
            // Of a program that is nowhere, the engine says that it has no image.
            if let Some(owner) = owner {
                let programs = owners.entry(owner.name.clone()).or_default();
                programs.insert(program);
            }
        }
        Ok(owners)
    }

    /// Compiles programs, and returns their images.
    pub(crate) fn build(
        &self,
        programs: Programs,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> anyhow::Result<Vec<Image>> {
        let mut images = Vec::new();
        for (owner, programs) in programs {
            let theirs = image::build(&self.root, &owner, progress)?.into_iter();
            images.extend(theirs.filter(|image| programs.contains(&image.program)));
        }
        Ok(images)
    }

    fn chapter_in(&self, folder: &Folder) -> anyhow::Result<Chapter> {
        let Folder {
            number,
            name,
            folder,
        } = folder.clone();
        let file = self
            .root
            .join("chapters")
            .join(&folder)
            .join("chapter.toml");
        let read =
            || -> anyhow::Result<ChapterFile> { Ok(toml::from_str(&fs::read_to_string(&file)?)?) };
        let ChapterFile { title, summary } = read().with_context(|| {
            format!(
                "cannot read chapters/{folder}/chapter.toml, which has a `title` and a `summary`"
            )
        })?;
        Ok(Chapter {
            number,
            folder,
            name,
            title,
            summary,
            root: self.root.clone(),
        })
    }
}

/// The name of a chapter's folder, and its parts.
#[derive(Clone, Debug)]
struct Folder {
    number: u32,
    name: String,
    folder: String,
}

impl Folder {
    fn parse(of: &str, folder: String) -> anyhow::Result<Self> {
        let parts = folder
            .split_once('-')
            .and_then(|(number, name)| Some((number.parse().ok()?, name.to_owned())));
        let (number, name) = parts.with_context(|| {
            format!("{of}/{folder} is not named as NN-name, such as 02-input-poller")
        })?;
        Ok(Self {
            number,
            name,
            folder,
        })
    }
}

impl Chapter {
    /// The chapter's own folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.root.join("chapters").join(&self.folder)
    }

    /// Its page of the book, from the workbook's root.
    #[must_use]
    pub fn page(&self) -> PathBuf {
        Path::new("book/src/chapters").join(format!("{}.md", self.folder))
    }

    /// Compiles the programs that its pods run, and returns their images: its own, and those of
    /// other chapters that its manifests and scenarios name.
    ///
    /// # Errors
    ///
    /// As [`image::build`], or if a folder of the workbook cannot be read.
    pub fn build(&self, progress: &mut dyn FnMut(Progress<'_>)) -> anyhow::Result<Vec<Image>> {
        let mut images = image::build(&self.root, &self.name, progress)?;
        let workspace = Workspace::at(self.root.clone());
        images.extend(workspace.build(self.borrowed()?, progress)?);
        Ok(images)
    }

    /// The programs of other chapters that are named here, by their package.
    fn borrowed(&self) -> anyhow::Result<Programs> {
        let manifests = self.root.join("manifests").join(&self.folder);
        let mut named = programs_named_in(&manifests)?;
        named.extend(programs_named_in(&self.path().join("scenarios"))?);
        let mut owners = Workspace::at(self.root.clone()).owners(named)?;
        owners.remove(&self.name);
        Ok(owners)
    }

    /// The names of its scenarios, the healthy one first.
    ///
    /// # Errors
    ///
    /// If the folder `scenarios` cannot be read.
    pub fn scenarios(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.path().join("scenarios");
        let mut names = Vec::new();
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                names.extend(
                    path.file_stem()
                        .map(|stem| stem.to_string_lossy().into_owned()),
                );
            }
        }
        names.sort_by_key(|name| (name != HEALTHY, name.clone()));
        Ok(names)
    }

    /// Reads a scenario.
    ///
    /// # Errors
    ///
    /// If there is none of that name (names those that there are), or it cannot be read.
    pub fn scenario(&self, name: &str) -> anyhow::Result<Scenario> {
        let file = self.path().join("scenarios").join(format!("{name}.toml"));
        if !file.is_file() {
            let names = self.scenarios()?.join(", ");
            bail!(
                "chapter {} has no scenario `{name}`; it has: {names}",
                self.number
            );
        }
        Scenario::load(&file)
    }

    /// The path of a scenario's manifest.
    #[must_use]
    pub fn manifest_path(&self, scenario: &str) -> PathBuf {
        self.root
            .join("manifests")
            .join(&self.folder)
            .join(format!("{scenario}.yaml"))
    }

    /// The pods of a scenario: those of its manifest, and those that its steps apply.
    ///
    /// # Errors
    ///
    /// If a manifest cannot be read, or a cluster would refuse it.
    pub fn pods(&self, scenario: &str) -> anyhow::Result<Vec<Pod>> {
        let mut pods = self.manifest(scenario)?.pods;
        for name in self.scenario(scenario)?.applies() {
            pods.extend(self.manifest(name)?.pods);
        }
        Ok(pods)
    }

    /// Reads a scenario's manifest, or one that a step applies. Its name in messages is the path
    /// from the workbook's root.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a cluster would refuse it.
    pub fn manifest(&self, scenario: &str) -> anyhow::Result<Manifest> {
        let path = self.manifest_path(scenario);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path
            .strip_prefix(&self.root)
            .unwrap_or(&path)
            .display()
            .to_string();
        Ok(Manifest::parse(&name, &text)?)
    }

    /// The folder of a scenario's snapshots.
    #[must_use]
    pub fn snapshots(&self, scenario: &str) -> PathBuf {
        self.path().join("snapshots").join(scenario)
    }

    /// The file of a scenario's recording, which the book shows.
    #[must_use]
    pub fn recording_path(&self, scenario: &str) -> PathBuf {
        self.snapshots(scenario).join("recording.json")
    }

    /// Reads a scenario's recording, the one that its snapshots were made from or one that is
    /// as good.
    ///
    /// # Errors
    ///
    /// If there is none, or it is not as the snapshots and the manifest say: says what would
    /// record it again.
    pub fn recording(&self, scenario: &str) -> anyhow::Result<Recording> {
        self.read_recording(scenario).with_context(|| {
            let number = self.number;
            format!("`cargo xtask chapter {number} --scenario {scenario} --bless` records it again")
        })
    }

    fn read_recording(&self, scenario: &str) -> anyhow::Result<Recording> {
        let file = self.recording_path(scenario);
        let recording = Recording::load(&file)?;
        let folder = self.snapshots(scenario);
        for (container, cut) in &self.scenario(scenario)?.snapshots {
            let compared = snapshot::compare(&folder, container, cut, &recording)?;
            ensure!(
                compared.verdict == Verdict::Same,
                "{} is not as the snapshot of {container}",
                file.display()
            );
        }
        let pods = self.pods(scenario)?;
        for (pod, name) in recording.containers() {
            let is_there = pods.iter().any(|of| {
                let mut containers = of.spec.all_containers();
                of.metadata.name == pod && containers.any(|(_, of)| of.name == name)
            });
            ensure!(
                is_there,
                "{} has a container {name} of a pod {pod}, and the manifest has not",
                file.display()
            );
        }
        Ok(recording)
    }
}

/// The programs whose images the files of a folder name.
fn programs_named_in(folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut programs = BTreeSet::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        // Whoever runs the scenario is told what is wrong with its files.
        programs.extend(programs_named(
            &fs::read_to_string(&path).unwrap_or_default(),
        ));
    }
    Ok(programs)
}

/// The programs whose images a text names.
pub(crate) fn programs_named(text: &str) -> BTreeSet<String> {
    let prefix = format!("{}:", image::REPOSITORY);
    let named = text.split(&prefix).skip(1).map(|rest| {
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        let end = rest.find(|letter| !is_of_name(letter));
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The app of chapters 6 to 9 is one file, and one image: it does not change by a byte from one
    /// to the next.
    #[test]
    fn every_program_is_in_one_chapter() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let workspace = Workspace::at(root);
        let mut owners = BTreeMap::<String, Vec<String>>::new();
        for chapter in workspace.chapters().unwrap() {
            for entry in fs::read_dir(chapter.path().join("src/bin")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let program = name.trim_end_matches(".rs").to_owned();
                owners
                    .entry(program)
                    .or_default()
                    .push(chapter.name.clone());
            }
        }
        owners.retain(|_, chapters| chapters.len() > 1);
        assert_eq!(owners, BTreeMap::new());

        for number in ["7", "8", "9"] {
            let chapter = workspace.select(number).unwrap().remove(0);
            let borrowed = chapter.borrowed().unwrap();
            assert!(borrowed["rate-limit"].contains("order-service"), "{number}");
        }
    }

    #[test]
    fn a_program_is_borrowed_from_the_chapter_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("chapters/01-one/src/bin/own.rs", ""),
            ("chapters/01-one/chapter.toml", "title = ''\nsummary = ''"),
            (
                "chapters/01-one/scenarios/upgrade.toml",
                "image = 'sidecar-examples:next'",
            ),
            ("chapters/02-two/src/bin/app.rs", ""),
            ("chapters/02-two/src/bin/own.rs", ""),
            ("chapters/02-two/src/bin/unused.rs", ""),
            ("chapters/03-three/src/bin/next/main.rs", ""),
            ("exercises/11-mine/program/Cargo.toml", ""),
            ("exercises/12-nowhere/exercise.toml", ""),
            (
                "manifests/01-one/healthy.yaml",
                "image: sidecar-examples:own\nimage: \"sidecar-examples:app\"\nimage: sidecar-examples:nowhere\nimage: sidecar-examples:mine",
            ),
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let workspace = Workspace::at(folder.path().to_owned());
        let borrowed = workspace.select("1").unwrap()[0].borrowed().unwrap();
        let one = |program: &str| BTreeSet::from([program.to_owned()]);
        assert_eq!(
            borrowed,
            BTreeMap::from([
                ("two".to_owned(), one("app")),
                ("three".to_owned(), one("next")),
                ("mine".to_owned(), one("mine")),
            ])
        );
    }
}
