//! Which engine a command runs on, and this program with that engine in it.
//!
//! A reader's first command compiles the sandbox only. Other engines are features of this program:
//! when one is asked for, the program is compiled again with it, and takes the place of this one.

use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use anstream::println;
use anyhow::{Context, bail};
use harness::engine::{Engine, EngineKind, RUN_LABEL, cluster_may_be_up};
use harness::image::PACKAGE_LABEL;
use harness::workspace::Workspace;

use crate::report::{Compiling, Phase, span};

/// What `--engine` says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// The best that works here.
    Auto,
    /// This one.
    Named(EngineKind),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "auto" {
            Ok(Self::Auto)
        } else {
            name.parse().map(Self::Named)
        }
    }
}

/// An engine, and why it is this one.
pub(crate) struct Chosen {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) why: &'static str,
}

/// Opens the engine that was asked for.
pub(crate) async fn open(choice: Choice) -> anyhow::Result<Chosen> {
    match choice {
        Choice::Named(kind) => Ok(Chosen {
            engine: named(kind).await?,
            why: "asked for",
        }),
        Choice::Auto => best().await,
    }
}

async fn named(kind: EngineKind) -> anyhow::Result<Box<dyn Engine>> {
    match kind {
        EngineKind::Sandbox => sandbox().await,
        EngineKind::Docker => docker().await,
        EngineKind::Kind => kind_at(Cluster::Wanted)
            .await?
            .context("there is no cluster"),
    }
}

/// The cluster where it is up, since somebody brought it up to use it; else what is quickest.
async fn best() -> anyhow::Result<Chosen> {
    if std::env::var_os(NO_CLUSTER).is_none()
        && cluster_may_be_up().await
        && let Some(engine) = kind_at(Cluster::IfUp).await?
    {
        return Ok(Chosen {
            engine,
            why: "its cluster is up",
        });
    }
    quickest().await
}

/// Opens the engine for an exercise: the one that was asked for, or the quickest.
///
/// A check changes the pod that it runs, and whoever learns waits for it: neither is for a cluster.
pub(crate) async fn open_for_exercises(choice: Choice) -> anyhow::Result<Box<dyn Engine>> {
    let engine = match choice {
        Choice::Named(EngineKind::Kind) => bail!(
            "exercises run in the sandbox or on Docker, not on kind: `--engine auto` takes the \
             quickest that works here"
        ),
        Choice::Named(kind) => named(kind).await?,
        Choice::Auto => quickest().await?.engine,
    };
    engine.sweep().await?;
    Ok(engine)
}

/// What is quickest of what works here: clusters are slow to answer.
async fn quickest() -> anyhow::Result<Chosen> {
    match sandbox().await {
        Ok(engine) => Ok(Chosen {
            engine,
            why: "the quickest that works here",
        }),
        Err(_) if docker_version().is_some() => Ok(Chosen {
            engine: docker().await?,
            why: "the sandbox does not work here",
        }),
        Err(error) => Err(error.context("no engine works here; `cargo xtask doctor` says why")),
    }
}

/// The version of the Docker daemon that answers, if one does.
pub(crate) fn docker_version() -> Option<String> {
    ask("docker", &["version", "--format", "{{.Server.Version}}"])
}

/// What a program says that ends well.
pub(crate) fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(said)
}

/// Removes all that is kept on the engines, and prints what that was. Returns whether there was
/// anything.
pub(crate) async fn clean() -> anyhow::Result<bool> {
    let mut found = false;
    if sandbox().await.is_ok() {
        found |= clean_one(EngineKind::Sandbox).await?;
    }
    // For nothing, nothing is compiled.
    if is_anything_on_docker() {
        found |= clean_one(EngineKind::Docker).await?;
    }
    if cluster_may_be_up().await {
        found |= clean_one(EngineKind::Kind).await?;
    }
    Ok(found)
}

/// Does that for one engine, if need be with a program that is compiled for it.
pub(crate) async fn clean_one(kind: EngineKind) -> anyhow::Result<bool> {
    let compiled = match kind {
        EngineKind::Sandbox => true,
        EngineKind::Docker => cfg!(feature = "docker"),
        EngineKind::Kind => cfg!(feature = "kind"),
    };
    if !compiled {
        let program = program_with(kind.name())?;
        let status = Command::new(&program)
            .args(["clean", "--engine", kind.name()])
            .status()
            .with_context(|| format!("cannot run {}", program.display()))?;
        anyhow::ensure!(status.success(), "what is on {kind} could not be removed");
        return Ok(true);
    }
    let engine = match kind {
        EngineKind::Kind => kind_at(Cluster::IfUp).await?,
        other => Some(named(other).await?),
    };
    let Some(engine) = engine else {
        return Ok(false);
    };
    let removed = engine.clean().await?;
    removed.iter().for_each(|what| println!("removed {what}"));
    Ok(!removed.is_empty())
}

/// Whether Docker has containers, volumes or images of the workbook.
fn is_anything_on_docker() -> bool {
    let run = format!("label={RUN_LABEL}");
    let image = format!("label={PACKAGE_LABEL}");
    let lists: [&[&str]; 3] = [
        &["ps", "--all", "--quiet", "--filter", &run],
        &["volume", "ls", "--quiet", "--filter", &run],
        &["images", "--all", "--quiet", "--filter", &image],
    ];
    lists
        .iter()
        .any(|list| ask("docker", list).is_some_and(|found| !found.is_empty()))
}

#[cfg(target_os = "linux")]
async fn sandbox() -> anyhow::Result<Box<dyn Engine>> {
    let program = harness::sandbox::this_program()?;
    Ok(Box::new(harness::engine::Sandbox::new(program).await?))
}

#[cfg(not(target_os = "linux"))]
async fn sandbox() -> anyhow::Result<Box<dyn Engine>> {
    anyhow::bail!(
        "the sandbox is made of Linux namespaces, and this is not Linux: `--engine docker` runs wherever Docker does"
    )
}

/// When the workbook's cluster is taken.
#[derive(Clone, Copy, Debug)]
enum Cluster {
    /// Only if it is up.
    IfUp,
    /// In any case: it is brought up.
    Wanted,
}

/// The cluster's engine.
#[cfg(feature = "kind")]
async fn kind_at(cluster: Cluster) -> anyhow::Result<Option<Box<dyn Engine>>> {
    use harness::engine::Kind;
    let engine = match cluster {
        Cluster::IfUp => Kind::connect().await?,
        Cluster::Wanted => Some(crate::cluster::engine().await?),
    };
    Ok(engine.map(|engine| Box::new(engine) as Box<dyn Engine>))
}

#[cfg(not(feature = "kind"))]
async fn kind_at(_cluster: Cluster) -> anyhow::Result<Option<Box<dyn Engine>>> {
    run_again_with(EngineKind::Kind.name()).map(|never| match never {})
}

#[cfg(feature = "docker")]
async fn docker() -> anyhow::Result<Box<dyn Engine>> {
    let phase = Phase::begin("engine", false);
    let mut compiling = Compiling::new(phase.bar());
    let root = Workspace::find()?.root().to_owned();
    let show = move |progress: harness::image::Progress<'_>| compiling.show(progress);
    let engine = harness::engine::Docker::new(&root, show).await;
    phase.end();
    Ok(Box::new(engine?))
}

#[cfg(not(feature = "docker"))]
async fn docker() -> anyhow::Result<Box<dyn Engine>> {
    run_again_with(EngineKind::Docker.name()).map(|never| match never {})
}

/// Compiles this program with one of its features, and runs that in the place of this one.
#[cfg(not(all(feature = "book", feature = "docker", feature = "kind")))]
pub(crate) fn run_again_with(feature: &str) -> anyhow::Result<std::convert::Infallible> {
    let mut command = Command::new(program_with(feature)?);
    command.args(std::env::args_os().skip(1));
    if feature != EngineKind::Kind.name() {
        command.env(NO_CLUSTER, "1");
    }
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(2)),
        Err(error) => error,
    };
    Err(error).with_context(|| format!("cannot run {}", command.get_program().display()))
}

/// Tells the program that takes this one's place that the cluster is not there, which it need not
/// find out again.
const NO_CLUSTER: &str = "WORKBOOK_NO_CLUSTER";

/// Compiles this program with one of its features: an engine, or the book.
fn program_with(feature: &str) -> anyhow::Result<PathBuf> {
    let phase = Phase::begin("compile", false);
    let mut compiling = Compiling::new(phase.bar());
    let root = Workspace::find()?.root().to_owned();
    let program = harness::image::build_tool(
        &root,
        "xtask",
        &format!("xtask-{feature}"),
        feature,
        &mut |progress| compiling.show(progress),
    )?;
    let took = phase.end();
    if let Some(what) = Compiling::in_words(compiling.crates()) {
        anstream::eprintln!("what {feature} needs: {what}, {}", span(took));
    }
    Ok(program)
}
