//! The first container of a pod on a Docker daemon, as a node's container runtime has one too. It
//! does nothing: the others join its network, its IPC namespace and, if the manifest says so, its
//! process namespace, which live as long as it does.
//!
//! Run in that container a second time, with the argument `serve`, the program is the harness's
//! hand in the pod: it connects to ports and writes to volumes. When the harness is gone, whatever
//! the reason, its standard input ends, and so does the pod.

#[cfg(target_os = "linux")]
mod hold;
#[cfg(target_os = "linux")]
mod serve;

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => hold::run(),
        [pause::SERVE] => serve::run(),
        [pause::KILL, process] => kill(process),
        _ => Err(std::io::Error::other("this program is run by the harness")),
    }
}

/// Kills a process that Docker itself cannot: see the engine's `signal`.
#[cfg(target_os = "linux")]
fn kill(process: &str) -> std::io::Result<()> {
    use nix::sys::signal::{Signal, kill};
    let process = process.parse().map_err(std::io::Error::other)?;
    Ok(kill(nix::unistd::Pid::from_raw(process), Signal::SIGKILL)?)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this program runs in a container");
}
