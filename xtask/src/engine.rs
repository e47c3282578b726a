//! Which engine a command runs on, and this program with that engine in it.
//!
//! A reader's first command compiles the sandbox only. Other engines are features of this program:
//! when one is asked for, the program is compiled again with it, and takes the place of this one.

use std::str::FromStr;

use anyhow::bail;
use harness::engine::{Engine, EngineKind, cluster_may_be_up};

#[cfg(feature = "kind")]
use crate::cluster;

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
    pub(crate) why: String,
}

/// Opens the engine that was asked for.
pub(crate) async fn open(choice: Choice) -> anyhow::Result<Chosen> {
    let (kind, why) = match choice {
        Choice::Named(kind) => (kind, "asked for"),
        Choice::Auto if cluster_may_be_up().await => (EngineKind::Kind, "its cluster is up"),
        Choice::Auto => (EngineKind::Sandbox, "the quickest that works here"),
    };
    let engine: Box<dyn Engine> = match kind {
        EngineKind::Sandbox => sandbox().await?,
        EngineKind::Kind => match open_kind(choice).await? {
            Some(engine) => engine,
            // What answered where the cluster was is not the cluster.
            None => {
                return Ok(Chosen {
                    engine: sandbox().await?,
                    why: "the quickest that works here".to_owned(),
                });
            }
        },
        EngineKind::Docker => {
            bail!(
                "this version of the workbook cannot run on docker yet; `--engine sandbox` works on any Linux machine"
            )
        }
    };
    Ok(Chosen {
        engine,
        why: why.to_owned(),
    })
}

/// The engines on which runs that were killed can have left something: those that work here.
pub(crate) async fn at_hand() -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<_> = sandbox().await.into_iter().collect();
    if cluster_may_be_up().await {
        engines.extend(open_kind(Choice::Auto).await.ok().flatten());
    }
    engines
}

#[cfg(target_os = "linux")]
async fn sandbox() -> anyhow::Result<Box<dyn Engine>> {
    let program = harness::sandbox::this_program()?;
    Ok(Box::new(harness::engine::Sandbox::new(program).await?))
}

#[cfg(not(target_os = "linux"))]
async fn sandbox() -> anyhow::Result<Box<dyn Engine>> {
    bail!(
        "the sandbox is made of Linux namespaces, and this is not Linux: `--engine kind` runs wherever Docker does"
    )
}

/// The cluster's engine; where the choice is free, none if the cluster is not up after all.
#[cfg(feature = "kind")]
async fn open_kind(choice: Choice) -> anyhow::Result<Option<Box<dyn Engine>>> {
    use harness::engine::Kind;
    let engine = match choice {
        Choice::Auto => Kind::connect().await?,
        Choice::Named(_) => Some(cluster::engine().await?),
    };
    Ok(engine.map(|engine| Box::new(engine) as Box<dyn Engine>))
}

#[cfg(not(feature = "kind"))]
async fn open_kind(_choice: Choice) -> anyhow::Result<Option<Box<dyn Engine>>> {
    run_again_with("kind").map(|never| match never {})
}

/// Compiles this program with an engine in it, and runs that in the place of this one.
#[cfg(not(feature = "kind"))]
pub(crate) fn run_again_with(engine: &str) -> anyhow::Result<std::convert::Infallible> {
    use anyhow::Context;
    use harness::workspace::Workspace;

    use crate::report::{Compiling, Phase, span};

    let phase = Phase::begin("engine", false);
    let mut compiling = Compiling::new(phase.bar());
    let root = Workspace::find()?.root().to_owned();
    let program = harness::image::build_tool(
        &root,
        "xtask",
        &format!("xtask-{engine}"),
        engine,
        &mut |progress| compiling.show(progress),
    )?;
    let took = phase.end();
    if compiling.parts() > 0 {
        let parts = compiling.parts();
        anstream::eprintln!(
            "compiled the client of {engine}: {parts} parts, {}",
            span(took)
        );
    }
    let mut command = std::process::Command::new(&program);
    command.args(std::env::args_os().skip(1));
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(2)),
        Err(error) => error,
    };
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
