//! The neighbour: looks at what it can see of the app, and says so. Each look is a function.

use std::env;
use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nix::mqueue::{MQ_OFlag, mq_open, mq_receive};
use nix::sys::stat::Mode;
use reqwest::{Client, Url};
use serde::Deserialize;
use sidecar_kit::{Setting, optional_setting, setting, told_to_end};
use tokio::time::{Instant, sleep};
use what_containers_share::{MESSAGE, NAMESPACES, PASSWORD, TOKEN, files, identity, namespace};

/// How long the app may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause before the app is asked again: nothing tells when a port will accept.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let look_at: Option<Look> = optional_setting("LOOK_AT");
    let place = Place {
        app: setting("UPSTREAM", "http://localhost:8080"),
        shared: setting("SHARED", "/shared"),
        queue: setting("QUEUE", "/app"),
        program: setting("PROGRAM", "/app"),
        secret: setting("SECRET", "/etc/app/password"),
        token: setting("TOKEN", TOKEN),
    };

    let mut end = Box::pin(told_to_end());
    tokio::select! {
        () = &mut end => return ExitCode::SUCCESS,
        looked = look_around(look_at, &place) => if let Err(error) = looked {
            println!("{error:#}");
            return ExitCode::FAILURE;
        }
    }
    end.await;
    ExitCode::SUCCESS
}

/// Where things of the app would be.
struct Place {
    /// Where it answers.
    app: Url,
    /// The folder with its files, where a volume is mounted.
    shared: PathBuf,
    /// Its message queue.
    queue: PathBuf,
    /// Its program, in the root filesystem of its container.
    program: PathBuf,
    /// A file that is mounted in its container only.
    secret: PathBuf,
    /// The token of the pod's ServiceAccount, as both containers would have it.
    token: PathBuf,
}

/// What there is to look at.
#[derive(Clone, Copy)]
enum Look {
    Network,
    Volume,
    Ipc,
    Processes,
    Environment,
    RootFilesystem,
    Token,
    Namespaces,
    ThroughProc,
}

/// What is looked at where `LOOK_AT` does not name one: all that is so in every pod.
const IN_EVERY_POD: [Look; 6] = [
    Look::Network,
    Look::Volume,
    Look::Ipc,
    Look::Processes,
    Look::Environment,
    Look::RootFilesystem,
];

const ALL: [Look; 9] = [
    Look::Network,
    Look::Volume,
    Look::Ipc,
    Look::Processes,
    Look::Environment,
    Look::RootFilesystem,
    Look::Token,
    Look::Namespaces,
    Look::ThroughProc,
];

impl Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Ipc => "ipc",
            Self::Processes => "processes",
            Self::Environment => "environment",
            Self::RootFilesystem => "root-filesystem",
            Self::Token => "token",
            Self::Namespaces => "namespaces",
            Self::ThroughProc => "through-proc",
        })
    }
}

impl Setting for Look {
    const EXAMPLE: &'static str = "network, volume, ipc, processes, environment, \
                                   root-filesystem, token, namespaces or through-proc";

    fn parse(value: &str) -> Result<Self, String> {
        let named = ALL.into_iter().find(|look| look.to_string() == value);
        named.ok_or_else(|| "there is no such look".to_owned())
    }
}

/// Waits for the app, looks, and prints what was found.
async fn look_around(look_at: Option<Look>, place: &Place) -> anyhow::Result<()> {
    let client = Client::builder().no_proxy().build()?;
    wait_until_it_listens(&client, &place.app).await?;
    for look in look_at.map_or(IN_EVERY_POD.to_vec(), |look| vec![look]) {
        let found = match look {
            Look::Network => network(&client, &place.app).await,
            Look::Volume => volume(&place.shared),
            Look::Ipc => ipc(&place.queue),
            Look::Processes => processes(&place.program),
            Look::Environment => Ok(environment()),
            Look::RootFilesystem => root_filesystem(&place.program),
            Look::Token => token(&place.token, &place.shared),
            Look::Namespaces => namespaces(&place.shared),
            Look::ThroughProc => through_proc(&place.program, &place.secret),
        };
        // That something cannot be seen is a finding, too.
        let found = found.unwrap_or_else(|error| format!("{error:#}"));
        for line in found.lines() {
            println!("{look}: {line}");
        }
    }
    Ok(())
}

/// Waits until the app listens: by then it has prepared all.
async fn wait_until_it_listens(client: &Client, app: &Url) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = client.get(app.clone()).send().await {
        if Instant::now() > deadline {
            bail!("the app does not answer at {app} within {PATIENCE:?}: {error}");
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

// ANCHOR: network
/// Calls the app on `localhost`, and tries to listen on its port.
async fn network(client: &Client, app: &Url) -> anyhow::Result<String> {
    let answer = client.get(app.clone()).send().await?.text().await?;
    let port = app.port_or_known_default().context("no port")?;
    let listened = TcpListener::bind(("127.0.0.1", port));
    Ok(format!(
        "{app} answers: {}\nto listen on port {port}: {}",
        answer.trim_end(),
        listened.map_or_else(|error| error.to_string(), |_| "it is free".to_owned())
    ))
}
// ANCHOR_END: network

// ANCHOR: volume
/// Reads the file that the app wrote to a volume.
fn volume(shared: &Path) -> anyhow::Result<String> {
    let note = fs::read_to_string(shared.join(files::NOTE)).context("no file of the app")?;
    Ok(format!("the file of the app says: {}", note.trim_end()))
}
// ANCHOR_END: volume

// ANCHOR: ipc
/// Takes the message out of the app's queue.
fn ipc(queue: &Path) -> anyhow::Result<String> {
    let flags = MQ_OFlag::O_RDONLY | MQ_OFlag::O_NONBLOCK;
    let queue = mq_open(queue, flags, Mode::empty(), None).context("no queue of the app")?;
    let mut message = [0; MESSAGE];
    let length = mq_receive(&queue, &mut message, &mut 0).context("no message of the app")?;
    let message = String::from_utf8_lossy(&message[..length]);
    Ok(format!("the queue of the app holds: {message}"))
}
// ANCHOR_END: ipc

// ANCHOR: processes
/// Looks for the app among the processes that this container sees.
fn processes(program: &Path) -> anyhow::Result<String> {
    let number = match std::process::id() {
        1 => "this process is number 1",
        _ => "this process is not number 1",
    };
    let seen = match process_of(program)? {
        Some(_) => "the app's process is seen",
        None => "the app's process is not seen",
    };
    Ok(format!("{number}\n{seen}"))
}

/// The folder in `/proc` of the process that runs a program.
fn process_of(program: &Path) -> anyhow::Result<Option<PathBuf>> {
    let name = program.file_name().context("PROGRAM has no name")?;
    let name = name.to_string_lossy();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let folder = entry.context("/proc")?.path();
        // Not all that is there is a process, and a process may be gone by now.
        let called = fs::read_to_string(folder.join("comm"));
        if called.is_ok_and(|called| called.trim_end() == name) {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}
// ANCHOR_END: processes

// ANCHOR: environment
/// Looks for the variable that the manifest gives to the app.
fn environment() -> String {
    match env::var(PASSWORD) {
        Ok(value) => format!("{PASSWORD} is {value}"),
        Err(_) => format!("{PASSWORD} is not set here"),
    }
}
// ANCHOR_END: environment

// ANCHOR: root-filesystem
/// Looks for the app's program where the app has it.
fn root_filesystem(program: &Path) -> anyhow::Result<String> {
    let mine = env::current_exe().context("this program")?;
    let is_there = program.try_exists().context("the app's program")?;
    Ok(format!(
        "{} is here\n{} is {}",
        mine.display(),
        program.display(),
        if is_there { "here" } else { "not here" }
    ))
}
// ANCHOR_END: root-filesystem

// ANCHOR: token
/// Looks for the token of the ServiceAccount, and whether the app has the same one.
fn token(path: &Path, shared: &Path) -> anyhow::Result<String> {
    let of_app = read_if_there(&shared.join(files::TOKEN))?;
    let Some(token) = read_if_there(path)? else {
        return Ok(match of_app {
            Some(_) => "none here, and one in the app".to_owned(),
            None => "none here, and none in the app".to_owned(),
        });
    };
    let is_same = of_app == Some(identity(path)?);
    Ok(format!(
        "it speaks for the ServiceAccount {}\nthe app has {}",
        service_account(&token).with_context(|| path.display().to_string())?,
        if is_same {
            "the same one"
        } else {
            "another one, or none"
        }
    ))
}

/// Whom a token speaks for. It is a JSON Web Token: a head, claims and a signature, in base64,
/// with dots between them.
fn service_account(token: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
    }
    let claims = token.split('.').nth(1).context("not a JSON Web Token")?;
    let claims: Claims = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims)?)?;
    // As `system:serviceaccount:NAMESPACE:NAME`.
    let name = claims.sub.rsplit(':').next().unwrap_or_default();
    Ok(name.to_owned())
}
// ANCHOR_END: token

fn read_if_there(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

// ANCHOR: namespaces
/// Compares the namespaces of this process with those that the app has written down.
fn namespaces(shared: &Path) -> anyhow::Result<String> {
    let of_app =
        fs::read_to_string(shared.join(files::NAMESPACES)).context("no file of the app")?;
    let mut found = String::new();
    for kind in NAMESPACES {
        let mine = namespace(kind)?.display().to_string();
        let is_shared = of_app.lines().any(|namespace| namespace == mine);
        found += &format!("{kind} {}\n", if is_shared { "shared" } else { "its own" });
    }
    Ok(found)
}
// ANCHOR_END: namespaces

// ANCHOR: through-proc
/// Reads the app's environment, and a file of its root filesystem, through its process.
fn through_proc(program: &Path, secret: &Path) -> anyhow::Result<String> {
    let app = process_of(program)?.context("the app's process is not seen")?;
    let root = app.join("root").join(secret.strip_prefix("/")?);
    let password = fs::read_to_string(app.join("environ")).map(|environment| {
        let mut variables = environment.split('\0');
        let variable = variables.find(|variable| variable.starts_with(PASSWORD));
        variable.unwrap_or("without a password").to_owned()
    });
    let in_words = |read: io::Result<String>| read.unwrap_or_else(|error| error.to_string());
    Ok(format!(
        "the app's environment: {}\nthe app's {}: {}",
        in_words(password),
        secret.display(),
        in_words(fs::read_to_string(root)).trim_end()
    ))
}
// ANCHOR_END: through-proc
