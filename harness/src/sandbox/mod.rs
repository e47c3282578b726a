//! The `sandbox` engine's machine: pods made of Linux namespaces, with no help from anything that
//! must be installed, for root and for ordinary users.
//!
//! A [`Pod`] here is the harness's end. At the other end of a socket is the pod's first process
//! (`supervisor`), which starts its containers (`container`). Read the three in that order to see
//! what a pod is.

mod cgroup;
mod container;
mod forbidden;
mod ids;
mod protocol;
mod seccomp;
mod supervisor;
mod sys;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, unix::pipe};
use tokio::sync::{oneshot, watch};

pub use cgroup::Cgroups;
use cgroup::PodCgroup;
use container::Plan;
pub use forbidden::Forbidden;
pub(crate) use ids::COUNT;
pub use ids::Ids;
use protocol::{Answer, Numbered, PodSpec, Reply, Request};

use crate::kubelet::runtime::{
    Connection, ContainerSpec, ExitStatus, PodSettings, Process, Runtime, StartError, VolumeFile,
    VolumeSpec,
};

/// The first argument that makes a program the supervisor of a pod. No command line has it.
const SUPERVISE: &str = "--supervise-pod";

/// What a pod's first process is called in process lists, as on a node.
const SUPERVISOR_NAME: &str = "pause";

/// The address of every pod: each has a network of its own, so they can be the same.
const POD_IP: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 10);

/// Becomes the supervisor of a pod if this process was started as one, and returns otherwise.
///
/// Call it first in `main`, before anything starts a thread: a process with threads cannot leave
/// its user namespace.
pub fn supervise_if_asked() {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == SUPERVISE)
    {
        supervisor::run();
    }
}

/// A pod: namespaces, and the process in them that does what the harness asks.
///
/// When it is dropped, or the process that holds it dies, the kernel ends every process of the
/// pod and forgets all that it had mounted.
#[derive(Debug)]
pub struct Pod {
    link: Arc<Link>,
    ids: Ids,
    own_proc: bool,
    /// The supervisor, as this process knows it.
    pid: u32,
    /// Holds `true` once the supervisor has been waited for.
    gone: watch::Receiver<bool>,
}

/// The harness's end of the control socket.
#[derive(Debug)]
struct Link {
    socket: AsyncFd<OwnedFd>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    cgroup: Option<Arc<PodCgroup>>,
}

/// An answer, and the descriptor that came with it.
type Answered = (Result<Answer, StartError>, Option<OwnedFd>);

/// Who waits for what from the supervisor.
#[derive(Debug, Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Answered>>,
    exits: HashMap<String, oneshot::Sender<ExitStatus>>,
    gone: bool,
}

impl Pod {
    /// Makes the namespaces of a pod. `program` is run as its supervisor: one whose `main` calls
    /// [`supervise_if_asked`]. With `cgroups`, the limits of its containers are enforced.
    ///
    /// # Errors
    ///
    /// [`Forbidden`] where the machine does not let this user make them: it says what forbids it
    /// and what would help.
    pub async fn start(
        program: &Path,
        settings: &PodSettings,
        cgroups: Option<&Cgroups>,
    ) -> Result<Self, Forbidden> {
        let cgroup = cgroups.map(PodCgroup::new).transpose();
        let cgroup = cgroup
            .map_err(|error| Forbidden::explain(failed("make the pod's cgroup", error)))?
            .map(Arc::new);
        let mut last = None;
        for ids in Ids::candidates() {
            match Self::start_with(program, settings, ids, cgroup.clone()).await {
                Ok(pod) => return Ok(pod),
                // A way that fails may leave a process whose ids cannot be mapped again, so each
                // way starts anew.
                Err(error) => last = Some(error),
            }
        }
        // There is always at least one way to try.
        Err(Forbidden::explain(
            last.unwrap_or_else(|| failed("find ids", "there are none")),
        ))
    }

    async fn start_with(
        program: &Path,
        settings: &PodSettings,
        ids: Ids,
        cgroup: Option<Arc<PodCgroup>>,
    ) -> Result<Self, StartError> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )
        .map_err(|error| failed("make a socket", error))?;
        // The flag belongs to each end; the supervisor waits in `poll(2)`.
        blocking(&theirs).map_err(|error| failed("make a socket", error))?;
        // ANCHOR: supervisor
        let mut child = Command::new(program)
            .arg0(SUPERVISOR_NAME)
            .arg(SUPERVISE)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| failed(format!("run {}", program.display()), error))?;
        // ANCHOR_END: supervisor
        let pid = child.id();
        let (reaped, gone) = watch::channel(false);
        // A thread, not a task: the child must be waited for even while the runtime shuts down.
        std::thread::spawn(move || {
            let _ = child.wait();
            let _ = reaped.send(true);
        });

        let socket = sys::watch(ours).map_err(|error| failed("watch a socket", error))?;
        let link = Arc::new(Link {
            socket,
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            cgroup,
        });
        let mut pod = Self {
            link,
            ids,
            own_proc: true,
            pid,
            gone,
        };
        match pod.link.receive().await {
            Ok(Some((Reply::Unshared, _))) => {}
            other => return Err(unexpected(other)),
        }
        pod.ids
            .write_maps(pid)
            .map_err(|error| failed("map user and group ids", error))?;
        let spec = PodSpec {
            hostname: settings.hostname.clone(),
            ip: POD_IP,
            hosts: settings.hosts_file(POD_IP.into()),
            share_process_namespace: settings.share_process_namespace,
        };
        pod.link
            .send(
                &Numbered {
                    number: 0,
                    body: Request::Begin(spec),
                },
                &[],
            )
            .await
            .map_err(|error| failed("speak to the supervisor", error))?;
        match pod.link.receive().await {
            Ok(Some((
                Reply::Answer {
                    answer: Ok(Answer::Begun { own_proc }),
                    ..
                },
                _,
            ))) => pod.own_proc = own_proc,
            other => return Err(unexpected(other)),
        }
        tokio::spawn(listen(pod.link.clone()));
        Ok(pod)
    }

    /// Ends every process of the pod, and returns when none is left.
    pub async fn end(&self) {
        self.link.hang_up();
        // Only a dropped sender could fail this, and the thread sends before it drops.
        let _ = self.gone.clone().wait_for(|gone| *gone).await;
        if let Some(cgroup) = &self.link.cgroup {
            cgroup.remove();
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.link.hang_up();
    }
}

fn failed(step: impl Into<String>, error: impl ToString) -> StartError {
    StartError {
        step: step.into(),
        error: error.to_string(),
    }
}

fn unexpected(message: io::Result<Option<(Reply, Option<OwnedFd>)>>) -> StartError {
    match message {
        Ok(Some((
            Reply::Answer {
                answer: Err(error), ..
            },
            _,
        ))) => error,
        Ok(Some((reply, _))) => failed("start the supervisor", format!("it said {reply:?}")),
        Ok(None) => failed("start the supervisor", "it ended without a word"),
        Err(error) => failed("listen to the supervisor", error),
    }
}

fn blocking(socket: &OwnedFd) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(socket, FcntlArg::F_SETFL(OFlag::empty())).map(|_| ())
}

impl Link {
    async fn send(&self, request: &Numbered<Request>, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket
            .async_io(Interest::WRITABLE, |socket| {
                protocol::send_request(socket.as_fd(), request, with)
            })
            .await
    }

    async fn receive(&self) -> io::Result<Option<(Reply, Option<OwnedFd>)>> {
        self.socket
            .async_io(Interest::READABLE, |socket| {
                protocol::receive_reply(socket.as_fd())
            })
            .await
    }

    /// Both sides see the end of the conversation now.
    fn hang_up(&self) {
        // Refused where the other side has left already.
        let _ = shutdown(
            std::os::fd::AsRawFd::as_raw_fd(self.socket.get_ref()),
            Shutdown::Both,
        );
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // No code that holds the lock can panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(
        &self,
        request: Request,
        with: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Option<OwnedFd>), StartError> {
        let gone = || failed("reach the pod", "its supervisor is gone");
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.gone {
                return Err(gone());
            }
            waiting.answers.insert(number, answered);
        }
        if let Err(error) = self
            .send(
                &Numbered {
                    number,
                    body: request,
                },
                with,
            )
            .await
        {
            self.waiting().answers.remove(&number);
            return Err(failed("speak to the pod's supervisor", error));
        }
        let (answer, descriptor) = answer.await.map_err(|_| gone())?;
        Ok((answer?, descriptor))
    }

    /// Asks for a process that prints to a pipe. The files go along after the pipe.
    async fn ask_for_process(
        &self,
        id: &str,
        request: Request,
        files: &[File],
    ) -> Result<Process, StartError> {
        let (read, write) = io::pipe().map_err(|error| failed("make a pipe", error))?;
        let (ended, exit) = oneshot::channel();
        self.waiting().exits.insert(id.to_owned(), ended);
        let with: Vec<_> = [write.as_fd()]
            .into_iter()
            .chain(files.iter().map(AsFd::as_fd))
            .collect();
        if let Err(error) = self.ask(request, &with).await {
            self.waiting().exits.remove(id);
            return Err(error);
        }
        drop(write);
        let output = pipe::Receiver::from_owned_fd(read.into())
            .map_err(|error| failed("watch a pipe", error))?;
        Ok(Process {
            id: id.to_owned(),
            output: Box::pin(output),
            exit,
        })
    }
}

/// Hands out what the supervisor says, until one of the two hangs up.
async fn listen(link: Arc<Link>) {
    while let Ok(Some((reply, descriptor))) = link.receive().await {
        match reply {
            Reply::Answer { number, answer } => {
                if let Some(waiting) = link.waiting().answers.remove(&number) {
                    // Whoever asked may have given up.
                    let _ = waiting.send((answer, descriptor));
                }
            }
            Reply::Exited { id, code } => {
                let mut cgroup = link.cgroup.iter();
                let out_of_memory = cgroup.any(|cgroup| cgroup.ran_out_of_memory(&id));
                if let Some(waiting) = link.waiting().exits.remove(&id) {
                    let _ = waiting.send(ExitStatus {
                        code,
                        out_of_memory,
                    });
                }
            }
            Reply::Unshared => {}
        }
    }
    let mut waiting = link.waiting();
    *waiting = Waiting {
        gone: true,
        ..Waiting::default()
    };
}

#[async_trait]
impl Runtime for Pod {
    fn pod_ip(&self) -> IpAddr {
        POD_IP.into()
    }

    async fn create_volume(&self, volume: VolumeSpec) -> anyhow::Result<()> {
        self.link.ask(Request::Volume(volume), &[]).await?;
        Ok(())
    }

    async fn write_files(&self, volume: &str, files: Vec<VolumeFile>) -> anyhow::Result<()> {
        self.link
            .ask(
                Request::Files {
                    volume: volume.to_owned(),
                    files,
                },
                &[],
            )
            .await?;
        Ok(())
    }

    async fn volume_usage(&self, volume: &str) -> anyhow::Result<u64> {
        match self
            .link
            .ask(
                Request::Usage {
                    volume: volume.to_owned(),
                },
                &[],
            )
            .await?
        {
            (Answer::Usage(bytes), _) => Ok(bytes),
            (other, _) => {
                anyhow::bail!("the supervisor answered {other:?} to a question for bytes")
            }
        }
    }

    async fn start(&self, spec: ContainerSpec) -> Result<Process, StartError> {
        // Refused if another build has put another image in its place meanwhile.
        let opened = spec.image.open_archive();
        let mut files = vec![opened.map_err(|error| failed("open the image", error))?];
        if let Some(cgroup) = &self.link.cgroup {
            let joined = cgroup.container(&spec);
            files.push(joined.map_err(|error| failed("make the container's cgroup", error))?);
        }
        let id = spec.id.clone();
        let plan = Plan {
            spec,
            single_id: self.ids.is_single(),
        };
        self.link
            .ask_for_process(&id, Request::Start(Box::new(plan)), &files)
            .await
    }

    async fn signal(&self, process: &str, signal: i32) -> anyhow::Result<()> {
        self.link
            .ask(
                Request::Signal {
                    process: process.to_owned(),
                    signal,
                },
                &[],
            )
            .await?;
        Ok(())
    }

    async fn exec(&self, container: &str, command: &[String]) -> Result<Process, StartError> {
        let id = format!(
            "{container}.exec{}",
            self.link.next.fetch_add(1, Ordering::Relaxed)
        );
        let request = Request::Exec {
            id: id.clone(),
            container: container.to_owned(),
            command: command.to_vec(),
        };
        self.link.ask_for_process(&id, request, &[]).await
    }

    async fn connect(&self, address: IpAddr, port: u16) -> io::Result<Connection> {
        let request = Request::Socket {
            ipv6: address.is_ipv6(),
        };
        let (_, socket) = self
            .link
            .ask(request, &[])
            .await
            .map_err(io::Error::other)?;
        let socket = socket.ok_or_else(|| io::Error::other("the supervisor sent no socket"))?;
        // ANCHOR: connect
        // A socket belongs to the network that it was made in, wherever it
        // is used.
        let socket = TcpSocket::from_std_stream(socket.into());
        let connected = socket.connect(SocketAddr::new(address, port)).await?;
        // ANCHOR_END: connect
        Ok(Box::new(connected))
    }

    fn kill(&self) {
        self.link.hang_up();
    }

    async fn end(&self) {
        Pod::end(self).await;
    }
}

/// What this machine gives the pods of this user.
#[derive(Clone, Debug)]
pub struct Findings {
    /// How a pod gets its user and group ids.
    pub ids: Ids,
    /// Whether a pod has a `/proc` of its own. In some containers the kernel refuses it, and a
    /// pod's containers see the names of the machine's processes.
    pub own_proc: bool,
    /// Where limits of memory are enforced, if they are.
    pub cgroups: Option<Cgroups>,
}

/// Tries everything that a pod needs, with a pod that does nothing.
///
/// # Errors
///
/// As [`Pod::start`].
pub async fn probe(program: &Path) -> Result<Findings, Forbidden> {
    let settings = PodSettings {
        hostname: "probe".to_owned(),
        host_aliases: Vec::new(),
        share_process_namespace: false,
        volumes: Vec::new(),
    };
    let pod = Pod::start(program, &settings, None).await?;
    let found = Cgroups::find(pod.pid);
    pod.end().await;
    Ok(Findings {
        ids: pod.ids.clone(),
        own_proc: pod.own_proc,
        cgroups: found.map(|(cgroups, _tried)| cgroups),
    })
}

/// The program to run as a pod's supervisor: this one, even if another build has put a newer one
/// in its place meanwhile.
///
/// # Errors
///
/// If `/proc` is not there.
pub fn this_program() -> io::Result<PathBuf> {
    let program = PathBuf::from("/proc/self/exe");
    program.metadata()?;
    Ok(program)
}
