//! `cargo xtask clean`.

use std::fs;

use anstream::println;
use anyhow::Context;
use harness::engine::EngineKind;
use harness::workspace::Workspace;

use crate::Verdict;
use crate::engine;

/// Removes what the harness has made, and what runs that were killed have left.
pub(crate) async fn run(only: Option<EngineKind>) -> anyhow::Result<Verdict> {
    if let Some(kind) = only {
        engine::clean_one(kind).await?;
        return Ok(Verdict::Good);
    }
    let folder = Workspace::find()?.output()?;
    let found = engine::clean().await?;
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
        println!("removed {}", folder.display());
    } else if !found {
        println!("nothing to remove");
    }
    Ok(Verdict::Good)
}
