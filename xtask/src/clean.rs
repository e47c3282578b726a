//! `cargo xtask clean`.

use std::fs;

use anstream::println;
use anyhow::Context;
use harness::workspace::Workspace;

use crate::Verdict;

/// Removes what the harness has made. Pods need no cleaning: the kernel ends them with the
/// command that ran them.
pub(crate) fn run() -> anyhow::Result<Verdict> {
    let folder = Workspace::find()?.output()?;
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
        println!("removed {}", folder.display());
    } else {
        println!("nothing to remove");
    }
    Ok(Verdict::Good)
}
