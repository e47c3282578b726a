//! `cargo xtask cluster`: the workbook's own kind cluster.

use clap::Subcommand;

use crate::Verdict;

/// What can be done with the cluster.
#[derive(Subcommand)]
pub(crate) enum Cluster {
    /// Brings it up, if it is not
    Up {
        /// The image of its node, if not kind's own for this version of Kubernetes
        #[arg(long, env = NODE_IMAGE, value_name = "IMAGE")]
        node_image: Option<String>,
    },
    /// Takes it down, with all that runs on it
    Down,
    /// Tells whether it is up
    Status,
    /// Gets a chapter's images into it, for `kubectl create -f`
    Load {
        /// The chapter's number or name, or `all`
        chapter: String,
    },
    /// Prints what to `eval` so that `kubectl` speaks to it
    Env,
}

/// The variable that names another node image.
const NODE_IMAGE: &str = "WORKBOOK_NODE_IMAGE";

/// Does it, if need be with a program that is compiled for it.
#[cfg(not(feature = "kind"))]
pub(crate) async fn run(_command: Cluster) -> anyhow::Result<Verdict> {
    crate::engine::run_again_with(harness::engine::EngineKind::Kind.name())
        .map(|never| match never {})
}

#[cfg(feature = "kind")]
pub(crate) use with_client::{engine, run};

#[cfg(feature = "kind")]
mod with_client {
    use anstream::println;
    use anyhow::Context;
    use harness::engine::Kind;
    use harness::engine::kind::cluster::{self, Status};
    use harness::workspace::Workspace;

    use super::{Cluster, NODE_IMAGE, Verdict};
    use crate::report::{self, Compiling, Phase, fact, span};

    pub(crate) async fn run(command: Cluster) -> anyhow::Result<Verdict> {
        match command {
            Cluster::Up { node_image } => {
                let phase = Phase::begin("cluster", false);
                let bar = phase.bar();
                cluster::up(node_image.as_deref(), &mut |step| {
                    bar.set_message(step.to_owned())
                })
                .await?;
                println!("the cluster is up, {}", span(phase.end()));
                println!("kubectl speaks to it after: eval \"$(cargo xtask cluster env)\"");
            }
            Cluster::Down => {
                let phase = Phase::begin("cluster", false);
                let bar = phase.bar();
                let was_there = cluster::down(&mut |step| bar.set_message(step.to_owned())).await?;
                let took = phase.end();
                if was_there {
                    println!("the cluster is gone, {}", span(took));
                } else {
                    println!("there was no cluster");
                }
            }
            Cluster::Status => return status().await,
            Cluster::Load { chapter } => load(&chapter).await?,
            Cluster::Env => {
                for (name, value) in cluster::env().await? {
                    println!("export {name}='{}'", value.replace('\'', r"'\''"));
                }
            }
        }
        Ok(Verdict::Good)
    }

    async fn status() -> anyhow::Result<Verdict> {
        Ok(match cluster::status().await? {
            Status::Absent => {
                println!("there is no cluster; `cargo xtask cluster up` makes it");
                Verdict::Bad
            }
            Status::Up {
                version,
                nodes,
                kubeconfig,
            } => {
                println!("the cluster is up: Kubernetes {version}");
                fact("nodes", &nodes.join(", "));
                fact("config", &kubeconfig.display().to_string());
                Verdict::Good
            }
            Status::Down { why } => {
                let words = format!("the cluster does not answer: {why}");
                println!("{words}\n`cargo xtask cluster up` starts it again");
                report::help(&words);
                Verdict::Bad
            }
            Status::NotOurs => {
                let words = "there is a kind cluster of the workbook's name that the workbook did not make; \
                             it is left alone";
                println!("{words}");
                report::help(words);
                Verdict::Bad
            }
        })
    }

    async fn load(wanted: &str) -> anyhow::Result<()> {
        let workspace = Workspace::find()?;
        for chapter in workspace.select(wanted)? {
            let phase = Phase::begin("build", false);
            let bar = phase.bar();
            let built = tokio::task::spawn_blocking(move || {
                let mut compiling = Compiling::new(bar);
                chapter.build(&mut |progress| compiling.show(progress))
            });
            let images = built.await.context("the build has panicked")??;
            phase.end();
            let sent = cluster::load(&images).await?;
            for image in &images {
                let what = if sent.contains(&image.name) {
                    "loaded"
                } else {
                    "there"
                };
                fact(what, &image.name);
            }
        }
        Ok(())
    }

    /// The engine on the cluster, which is brought up if it is not.
    pub(crate) async fn engine() -> anyhow::Result<Kind> {
        let phase = Phase::begin("cluster", false);
        let bar = phase.bar();
        let node_image = std::env::var(NODE_IMAGE).ok();
        let engine = Kind::new(node_image.as_deref(), &mut |step| {
            bar.set_message(step.to_owned());
        })
        .await;
        phase.end();
        engine
    }
}
