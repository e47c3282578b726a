//! Which engine a command runs on.

use std::str::FromStr;

use anyhow::bail;
use harness::engine::{Engine, EngineKind};

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
#[cfg(target_os = "linux")]
pub(crate) async fn open(choice: Choice) -> anyhow::Result<Chosen> {
    let why = match choice {
        Choice::Auto => "the quickest that works here",
        Choice::Named(EngineKind::Sandbox) => "asked for",
        Choice::Named(other) => return not_yet(other),
    };
    let sandbox = harness::engine::Sandbox::new(harness::sandbox::this_program()?).await?;
    Ok(Chosen {
        engine: Box::new(sandbox),
        why: why.to_owned(),
    })
}

/// Opens the engine that was asked for.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn open(choice: Choice) -> anyhow::Result<Chosen> {
    match choice {
        Choice::Named(other) if other != EngineKind::Sandbox => not_yet(other),
        _ => bail!(
            "the sandbox is made of Linux namespaces, and this is not Linux; run the workbook in a Linux machine"
        ),
    }
}

fn not_yet(engine: EngineKind) -> anyhow::Result<Chosen> {
    bail!(
        "this version of the workbook cannot run on {engine} yet; `--engine sandbox` works on any Linux machine"
    )
}
