//! How long it takes from the change of one line of a program until its pod has printed what the
//! snapshots want and is gone again: with the workbook, and by hand without it.
//!
//! By hand means what a reader types who knows the tools: `cargo build --release` of the changed
//! program, static, in the profile as cargo has it (the workbook's own is part of what is
//! compared); `docker build`, from scratch and of that program's image alone; `kind load
//! docker-image`; `kubectl apply` into a namespace that is there already; `kubectl wait` until the
//! pod is ready; `kubectl logs --follow` until the lines are there; `kubectl delete`. The last
//! waits until the pod is gone, as it does unless it is told otherwise, since the next `kubectl
//! apply` needs the name, and the workbook's run does not end before its pod has either. What was
//! typed once and stays is not counted: the namespace, the Dockerfile, the image of the program that
//! did not change, the caches of cargo and kubectl.
//!
//! The workbook's side is `cargo xtask chapter`, as it is typed, with all that it does before and
//! after: cargo's look at its own program, the namespace of its own, the comparison.
//!
//! The kubelet looks at its containers once a second, and what is deleted waits for that. A run that
//! begins when another has ended would always meet the same moment of that second, a lucky one or
//! not; so each begins at a moment that chance decides.
//!
//! Both work in a copy of the workbook, so that whatever ends this leaves the checkout as it was.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anstream::println;
use anyhow::{Context, bail, ensure};
use harness::image::Toolchain;
use harness::run::Plan;
use harness::workspace::{HEALTHY, Workspace};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{find, median, version};
use crate::Verdict;
use crate::chapter::watch_for_ctrl_c;
use crate::doctor;
use crate::report::{BAD, BOLD, DIM, Phase, fact, span};

const CHAPTER: &str = "input-poller";
/// The program that changes.
const PROGRAM: &str = "input-sidecar";
/// The line of it that changes: its value tells one program from another, and no line that is
/// printed depends on it.
const LINE: &str = "const LONGEST_ANSWER: usize = 64 * 1024;";
/// What the images of the manifests are called, up to the program's name.
const IMAGES: &str = "sidecar-examples:";
/// What is counted by hand, in order.
const PHASES: [&str; 6] = [
    "cargo build",
    "docker build",
    "kind load",
    "apply to Ready",
    "logs",
    "delete",
];
/// How often the kubelet asks the container runtime what has become of its containers.
const KUBELET_LOOKS: Duration = Duration::from_secs(1);
/// How long a command that was told to end may take to tidy up.
const TIDY: Duration = Duration::from_secs(60);
/// How long the cluster keeps the namespace of a bench that was killed, in seconds.
const LIFE: u64 = 24 * 60 * 60;
/// As many of a failed command's last lines are told.
const LAST_LINES: usize = 12;

pub(super) async fn run(rounds: u32) -> anyhow::Result<Verdict> {
    let kubectl = format!("kubectl is not here; to have it: {}", doctor::KUBECTL);
    let mut lacks = doctor::lacks_of_kind();
    if find("kubectl").is_none() {
        lacks.push(&kubectl);
    }
    ensure!(
        lacks.is_empty(),
        "by hand, a changed line takes Docker, kind and kubectl:\n  {}",
        lacks.join("\n  ")
    );
    let runner = Runner(watch_for_ctrl_c());
    let phase = Phase::begin("bench", false);
    let bar = phase.bar();
    let compared = compare(rounds, &runner, &mut |step| bar.set_message(step)).await;
    phase.end();
    match compared {
        Ok(times) => {
            report(&times, rounds);
            Ok(Verdict::Good)
        }
        Err(error) if error.is::<Interrupted>() => {
            println!("{BAD}interrupted{BAD:#}");
            Ok(Verdict::Bad)
        }
        Err(error) => Err(error),
    }
}

/// What each round took.
#[derive(Default)]
struct Times {
    by_hand: Vec<[Duration; PHASES.len()]>,
    kind: Vec<Duration>,
    sandbox: Vec<Duration>,
}

async fn compare(
    rounds: u32,
    runner: &Runner,
    progress: &mut dyn FnMut(String),
) -> anyhow::Result<Times> {
    let workspace = Workspace::find()?;
    fact(
        "warm-up",
        "a copy of the workbook is compiled and run once, which takes some minutes",
    );
    progress("copying the workbook".to_owned());
    let mut checkout = Checkout::copy(&workspace)?;
    for engine in ["sandbox", "kind"] {
        progress(format!("warming up: compiling, and a run on {engine}"));
        checkout.workbook(runner, engine).await?;
    }
    progress("warming up: by hand".to_owned());
    let mut by_hand = ByHand::prepare(&checkout, runner).await?;
    checkout.change_line()?;
    by_hand.round(&checkout, runner).await?;

    let mut times = Times::default();
    // They take turns, so that a slow moment of the machine falls on all of them.
    for round in 1..=rounds {
        progress(format!("round {round} of {rounds}: by hand"));
        checkout.change_line()?;
        any_moment().await;
        times.by_hand.push(by_hand.round(&checkout, runner).await?);
        for (engine, times) in [("kind", &mut times.kind), ("sandbox", &mut times.sandbox)] {
            progress(format!("round {round} of {rounds}: {engine}"));
            checkout.change_line()?;
            any_moment().await;
            times.push(checkout.workbook(runner, engine).await?);
        }
    }
    Ok(times)
}

/// Lets a part of the kubelet's second go by.
async fn any_moment() {
    let chance = RandomState::new().build_hasher().finish();
    sleep(Duration::from_millis(
        chance % KUBELET_LOOKS.as_millis() as u64,
    ))
    .await;
}

fn report(times: &Times, rounds: u32) {
    println!(
        "{BOLD}from a changed line of {PROGRAM} to its pod's lines{BOLD:#}, median of {rounds}"
    );
    let by_hand = median(
        times
            .by_hand
            .iter()
            .map(|phases| phases.iter().sum())
            .collect(),
    );
    println!("  by hand            {:>8}", span(by_hand));
    for (index, phase) in PHASES.iter().enumerate() {
        let phases = times.by_hand.iter().map(|phases| phases[index]);
        let took = span(median(phases.collect()));
        println!("    {DIM}{phase:<16} {took:>8}{DIM:#}");
    }
    for (engine, ours) in [("kind", &times.kind), ("sandbox", &times.sandbox)] {
        let ours = median(ours.clone());
        println!(
            "  --engine {engine:<9} {:>8}  {:.1} times as fast as by hand",
            span(ours),
            by_hand.as_secs_f64() / ours.as_secs_f64()
        );
    }
    let versions = [
        version("docker", "--version"),
        version("kind", "version"),
        find("kubectl").and_then(|_| version("kubectl", "version")),
    ];
    for version in versions.into_iter().flatten() {
        println!("  {DIM}{version}{DIM:#}");
    }
}

/// A copy of the workbook, with compiled programs of its own.
struct Checkout {
    folder: TempDir,
    plan: Plan,
    /// The program's source, as it was copied.
    source: String,
    changes: u32,
}

impl Checkout {
    fn copy(workspace: &Workspace) -> anyhow::Result<Self> {
        // `cargo xtask clean` finds there what a bench that was killed has left.
        let output = workspace.output()?;
        fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
        let folder = tempfile::Builder::new()
            .prefix("bench-loop-")
            .tempdir_in(&output);
        let folder =
            folder.with_context(|| format!("cannot make a folder in {}", output.display()))?;
        let copied = copy_sources(workspace.root(), folder.path(), &output);
        copied.with_context(|| format!("cannot copy {}", workspace.root().display()))?;

        let copy = Workspace::at(folder.path().to_owned());
        let plan = Plan::load(&copy.select(CHAPTER)?[0], HEALTHY)?;
        let mut checkout = Self {
            folder,
            plan,
            source: String::new(),
            changes: 0,
        };
        let file = checkout.program_source();
        checkout.source =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(
            checkout.source.contains(LINE),
            "{PROGRAM}.rs of chapter {} no longer has the line that this bench changes: {LINE}",
            checkout.plan.chapter.number
        );
        Ok(checkout)
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn target(&self) -> PathBuf {
        self.root().join("target")
    }

    fn program_source(&self) -> PathBuf {
        let folder = self.plan.chapter.path().join("src/bin");
        folder.join(format!("{PROGRAM}.rs"))
    }

    /// Makes the program another one than it ever was.
    fn change_line(&mut self) -> anyhow::Result<()> {
        self.changes += 1;
        let line = LINE.replace(';', &format!(" + {};", self.changes));
        let file = self.program_source();
        fs::write(&file, self.source.replace(LINE, &line))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    fn cargo(&self) -> Command {
        let mut command = Command::new(harness::image::cargo());
        command
            .current_dir(self.root())
            .env("CARGO_TARGET_DIR", self.target());
        command
    }

    /// Runs the chapter as a reader does, and returns how long that took.
    async fn workbook(&self, runner: &Runner, engine: &str) -> anyhow::Result<Duration> {
        let image = self.target().join(format!("workbook/images/{PROGRAM}.tar"));
        let before = fs::read(&image).ok();
        let mut command = self.cargo();
        let chapter = self.plan.chapter.number.to_string();
        command.args(["xtask", "chapter", &chapter, "--engine", engine]);
        let begin = Instant::now();
        runner.run(command).await?;
        let took = begin.elapsed();
        ensure!(
            self.changes == 0 || find_change(before.as_deref(), &image),
            "the changed line is not in the image that was run: {}",
            image.display()
        );
        Ok(took)
    }
}

/// Whether a file is there, and another one than it was.
fn find_change(before: Option<&[u8]>, file: &Path) -> bool {
    fs::read(file).is_ok_and(|after| Some(after.as_slice()) != before)
}

/// Copies what is not made by cargo or the harness, nor kept by git.
fn copy_sources(from: &Path, to: &Path, output: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if !path.is_dir() {
            // Editors leave links that lead nowhere.
            if path.is_file() {
                fs::copy(&path, &copy).with_context(|| path.display().to_string())?;
            }
            continue;
        }
        // Cargo marks its folders so.
        let is_made = path.join("CACHEDIR.TAG").is_file() || output.starts_with(&path);
        if !is_made && entry.file_name() != ".git" {
            fs::create_dir(&copy)?;
            copy_sources(&path, &copy, output)?;
        }
    }
    Ok(())
}

/// What a reader has beside the workbook's cluster: a namespace, images, a manifest that names
/// them.
struct ByHand {
    /// The name of the namespace, and of the images up to the program's.
    name: String,
    pod: String,
    toolchain: Toolchain,
    kubeconfig: String,
    cluster: String,
    nodes: Vec<String>,
    /// Where the manifest, the Dockerfiles and kubectl's cache are.
    folder: PathBuf,
    /// The names that images on the nodes had before.
    names_before: BTreeSet<String>,
    /// The digests of images that the nodes have got.
    loaded: BTreeSet<String>,
}

impl ByHand {
    async fn prepare(checkout: &Checkout, runner: &Runner) -> anyhow::Result<Self> {
        let toolchain = harness::image::toolchain(checkout.root())
            .map_err(|lack| anyhow::anyhow!("{lack}; to mend it: {}", lack.mend()))?;
        let folder = checkout.root().join("by-hand");
        fs::create_dir(&folder)?;

        // As the README has it: eval "$(cargo xtask cluster env)".
        let mut command = checkout.cargo();
        command.args(["xtask", "cluster", "env"]);
        let exports = runner.run(command).await?;
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            "eval \"$1\" && printf %s \"$KUBECONFIG\"",
            "sh",
            &exports,
        ]);
        let kubeconfig = runner.run(shell).await?;

        let plan = &checkout.plan;
        let pod = plan
            .manifest
            .pods
            .first()
            .context("the chapter has no pod")?;
        let mut by_hand = Self {
            name: format!("workbook-bench-{}", std::process::id()),
            pod: pod.metadata.name.clone(),
            toolchain,
            kubeconfig,
            cluster: String::new(),
            nodes: Vec::new(),
            folder,
            names_before: BTreeSet::new(),
            loaded: BTreeSet::new(),
        };
        let context = by_hand.kubectl(&["config", "current-context"]);
        let context = runner.run(context).await?;
        context
            .trim()
            .trim_start_matches("kind-")
            .clone_into(&mut by_hand.cluster);
        let mut nodes = Command::new("kind");
        nodes.args(["get", "nodes", "--name", &by_hand.cluster]);
        let nodes = runner.run(nodes).await?;
        by_hand.nodes = nodes.split_whitespace().map(ToOwned::to_owned).collect();
        let there = by_hand.nodes.iter().flat_map(|node| images_of(node));
        by_hand.names_before = there.map(|(name, _)| name).collect();

        runner
            .run(by_hand.kubectl(&["create", "namespace", &by_hand.name]))
            .await?;
        // Should this be killed, a later run of the workbook removes what it finds so labelled.
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let labels = by_hand.kubectl(&[
            "label",
            "namespace",
            &by_hand.name,
            &format!("app.kubernetes.io/managed-by={}", by_hand.cluster),
            &format!("sidecar-workbook/run={}", by_hand.name),
            &format!("sidecar-workbook/expires={}", now + LIFE),
        ]);
        runner.run(labels).await?;

        let manifest = fs::read_to_string(plan.chapter.manifest_path(HEALTHY))?;
        let manifest = manifest.replace(IMAGES, &format!("{}:", by_hand.name));
        fs::write(by_hand.folder.join("pod.yaml"), manifest)?;
        for (_, container) in pod.spec.all_containers() {
            let program = container.image.trim_start_matches(IMAGES);
            let context = by_hand.folder.join(program);
            fs::create_dir(&context)?;
            let dockerfile = format!(
                "FROM scratch\nLABEL sidecar-workbook.bench={}\nCOPY {program} /{program}\nUSER 65532:65532\n\
                 ENTRYPOINT [\"/{program}\"]\n",
                by_hand.name
            );
            fs::write(context.join("Dockerfile"), dockerfile)?;
            by_hand.build(checkout, runner, program).await?;
            by_hand.build_image(runner, program).await?;
            by_hand.load(runner, program).await?;
        }
        Ok(by_hand)
    }

    /// Does what a reader does after each change.
    async fn round(
        &mut self,
        checkout: &Checkout,
        runner: &Runner,
    ) -> anyhow::Result<[Duration; PHASES.len()]> {
        let context = self.folder.join(PROGRAM).join(PROGRAM);
        let before = fs::read(&context).ok();
        let mut times = Vec::new();
        let mut begin = Instant::now();
        let mut lap = || times.push(std::mem::replace(&mut begin, Instant::now()).elapsed());

        self.build(checkout, runner, PROGRAM).await?;
        lap();
        self.build_image(runner, PROGRAM).await?;
        lap();
        self.load(runner, PROGRAM).await?;
        lap();
        let manifest = self.folder.join("pod.yaml").display().to_string();
        runner
            .run(self.kubectl(&["apply", "-f", &manifest]))
            .await?;
        let pod = format!("pod/{}", self.pod);
        let ready = self.kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=120s"]);
        runner.run(ready).await?;
        lap();
        let limit = checkout.plan.scenario.timeout;
        let logs = self.logs(&checkout.plan, runner);
        timeout(limit, logs).await.with_context(|| {
            format!("by hand, the pod has not printed in {limit:?} what the snapshots have")
        })??;
        lap();
        runner
            .run(self.kubectl(&["delete", "-f", &manifest]))
            .await?;
        lap();

        ensure!(
            find_change(before.as_deref(), &context),
            "the changed line is not in the program that was built by hand: {}",
            context.display()
        );
        self.loaded.extend(self.named_on_nodes());
        times.try_into().ok().context("each phase is counted once")
    }

    /// Compiles a program, and puts it where its Dockerfile is.
    async fn build(
        &self,
        checkout: &Checkout,
        runner: &Runner,
        program: &str,
    ) -> anyhow::Result<()> {
        let Toolchain { target, linker, .. } = &self.toolchain;
        // A folder of its own: with other flags than the workbook's, the two would take each
        // other's programs away.
        let folder = checkout.target().join("by-hand");
        let mut command = checkout.cargo();
        command
            .args(["build", "--package", CHAPTER, "--bin", program])
            .args(["--release", "--target", target])
            .arg("--target-dir")
            .arg(&folder)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
        if let Some(linker) = linker {
            command.args(["--config", &format!("target.{target}.linker={linker:?}")]);
        }
        runner.run(command).await?;
        let built = folder.join(target).join("release").join(program);
        fs::copy(&built, self.folder.join(program).join(program))
            .with_context(|| format!("cannot copy {}", built.display()))?;
        Ok(())
    }

    async fn build_image(&self, runner: &Runner, program: &str) -> anyhow::Result<()> {
        let mut command = Command::new("docker");
        command
            .args(["build", "--tag", &format!("{}:{program}", self.name)])
            .arg(self.folder.join(program));
        runner.run(command).await.map(|_| ())
    }

    async fn load(&self, runner: &Runner, program: &str) -> anyhow::Result<()> {
        let mut command = Command::new("kind");
        let image = format!("{}:{program}", self.name);
        command.args(["load", "docker-image", &image, "--name", &self.cluster]);
        runner.run(command).await.map(|_| ())
    }

    /// Follows each container's log until it has the lines of its snapshot.
    async fn logs(&self, plan: &Plan, runner: &Runner) -> anyhow::Result<()> {
        for (container, cut) in &plan.scenario.snapshots {
            let wanted = cut
                .lines
                .context("the scenario waits for a container's end")?;
            let command = self.kubectl(&["logs", "--follow", &self.pod, "--container", container]);
            let mut seen = 0;
            runner
                .read(command, |line| {
                    seen += usize::from(cut.compares(line));
                    seen >= wanted
                })
                .await?;
        }
        Ok(())
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(["--namespace", &self.name])
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            // The reader's own is left alone.
            .env("KUBECACHEDIR", self.folder.join("kube-cache"));
        command
    }

    /// The digests of the images on the nodes that have a name of ours.
    fn named_on_nodes(&self) -> Vec<String> {
        let name = format!("docker.io/library/{}:", self.name);
        let ours = |(held, digest): (String, String)| held.starts_with(&name).then_some(digest);
        let nodes = self.nodes.iter().flat_map(|node| images_of(node));
        nodes.filter_map(ours).collect()
    }
}

/// The images of a node: name and digest of each.
fn images_of(node: &str) -> Vec<(String, String)> {
    let listed = Blocking::new("docker")
        .args(["exec", node, "ctr", "--namespace=k8s.io", "images", "ls"])
        .output();
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    let columns = |line: &str| {
        let mut columns = line.split_whitespace();
        Some((columns.next()?.to_owned(), columns.nth(1)?.to_owned()))
    };
    String::from_utf8_lossy(&listed)
        .lines()
        .filter_map(columns)
        .collect()
}

impl Drop for ByHand {
    fn drop(&mut self) {
        // What is not there need not be removed.
        let quietly = |command: &mut Blocking| {
            let _ = command.stdin(Stdio::null()).output();
        };
        let namespace = self.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        quietly(&mut namespace.into_std());
        let label = format!("label=sidecar-workbook.bench={}", self.name);
        let arguments = ["image", "prune", "--all", "--force", "--filter", &label];
        quietly(Blocking::new("docker").args(arguments));
        self.loaded.extend(self.named_on_nodes());
        for node in &self.nodes {
            // Each load gives an image further names, which stay when the next takes the first one.
            let ours = |(name, digest): &(String, String)| {
                let of_load = name.starts_with("import-") && !self.names_before.contains(name);
                of_load || self.loaded.contains(digest)
            };
            let images = images_of(node).into_iter().filter(ours);
            let names: Vec<String> = images.map(|(name, _)| name).collect();
            if !names.is_empty() {
                let arguments = ["exec", node, "ctr", "--namespace=k8s.io", "images", "rm"];
                quietly(Blocking::new("docker").args(arguments).args(names));
            }
        }
    }
}

/// Someone asked for the end.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Runs commands one after the other, until someone asks for the end.
struct Runner(watch::Receiver<bool>);

impl Runner {
    /// Runs a command to its end, and returns what it printed.
    async fn run(&self, mut command: Command) -> anyhow::Result<String> {
        let child = start(&mut command)?;
        let group = child.id();
        let mut ended = std::pin::pin!(child.wait_with_output());
        let output = tokio::select! {
            output = &mut ended => output.with_context(|| in_words(&command))?,
            () = self.asked() => {
                interrupt(group);
                let _ = timeout(TIDY, ended).await;
                bail!(Interrupted);
            }
        };
        if !output.status.success() {
            bail!(failed(&command, &output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Reads the lines that a command prints until `enough` says so, and ends it.
    async fn read(
        &self,
        mut command: Command,
        mut enough: impl FnMut(&str) -> bool,
    ) -> anyhow::Result<()> {
        let mut child = start(&mut command)?;
        let lines = child.stdout.take().context("it has an output")?;
        let mut lines = BufReader::new(lines).lines();
        loop {
            let line = tokio::select! {
                line = lines.next_line() => line?,
                () = self.asked() => bail!(Interrupted),
            };
            match line {
                Some(line) if enough(&line) => break,
                Some(_) => {}
                None => bail!(failed(&command, &child.wait_with_output().await?)),
            }
        }
        child.kill().await?;
        Ok(())
    }

    async fn asked(&self) {
        if self.0.clone().wait_for(|asked| *asked).await.is_err() {
            // Nobody can ask any more.
            std::future::pending().await
        }
    }
}

fn start(command: &mut Command) -> anyhow::Result<tokio::process::Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // Ctrl-C in a terminal is for this program, which passes it on once: two would be an order to
    // end at once and leave all as it is.
    #[cfg(unix)]
    command.process_group(0);
    let child = command.spawn();
    child.with_context(|| format!("cannot run `{}`", in_words(command)))
}

/// Has a command end in order, with all that it has started.
fn interrupt(group: Option<u32>) {
    if let Some(group) = group {
        let _ = Blocking::new("kill")
            .args(["-INT", "--", &format!("-{group}")])
            .status();
    }
}

fn in_words(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name();
    let words = program.into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn failed(command: &Command, output: &Output) -> String {
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.trim().lines().collect();
    format!(
        "`{}` has ended too early ({}):\n{}",
        in_words(command),
        output.status,
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    )
}
