//! `cargo xtask clean`.

use std::fs;

use anstream::println;
use anyhow::Context;
use harness::workspace::Workspace;

use crate::Verdict;
use crate::engine;

/// Removes what the harness has made, and what runs that were killed have left.
pub(crate) async fn run() -> anyhow::Result<Verdict> {
    let folder = Workspace::find()?.output()?;
    let mut left = Vec::new();
    for engine in engine::at_hand().await {
        left.extend(engine.sweep().await?);
    }
    left.iter().for_each(|what| println!("removed {what}"));
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
        println!("removed {}", folder.display());
    } else if left.is_empty() {
        println!("nothing to remove");
    }
    Ok(Verdict::Good)
}
