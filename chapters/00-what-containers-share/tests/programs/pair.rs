//! An app and a neighbour of a test's own: no two tests have a file, a queue, a port or a
//! program's name in common.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mqueue::mq_unlink;
use sidecar_testing::{Program, ReservedAddress};
use tempfile::TempDir;

/// The variable that the manifest gives to the app.
pub(crate) const PASSWORD: (&str, &str) = ("APP_PASSWORD", "open sesame");

pub(crate) struct Pair {
    pub(crate) address: ReservedAddress,
    /// What both take for the pod's folders.
    pub(crate) folder: TempDir,
    pub(crate) queue: String,
    /// The app, under a name that no other process has.
    pub(crate) program: PathBuf,
}

impl Pair {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("app{:x}-{count}", process::id());
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("shared")).unwrap();
        let program = folder.path().join(&name);
        symlink(env!("CARGO_BIN_EXE_app"), &program).unwrap();
        Self {
            address: ReservedAddress::new(),
            queue: format!("/{name}"),
            folder,
            program,
        }
    }

    /// A path in the pair's folder, as a setting has it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts the app. It has no token unless the test makes one.
    pub(crate) fn app(&self, settings: &[(&str, &str)]) -> Program {
        let (shared, token) = (self.path("shared"), self.path("token"));
        let listen = self.address.address.to_string();
        let mut all = vec![
            ("LISTEN", listen.as_str()),
            ("SHARED", &shared),
            ("QUEUE", &self.queue),
            ("TOKEN", &token),
            PASSWORD,
        ];
        all.extend(settings);
        Program::start(self.program.to_str().unwrap(), &all)
    }

    /// Starts the app, and waits until it listens.
    pub(crate) fn prepared_app(&self) -> Program {
        let app = self.app(&[]);
        let says = format!("the app listens on {}", self.address.address);
        assert_eq!(app.line(), says);
        app
    }

    /// Starts the neighbour.
    pub(crate) fn neighbour(&self, settings: &[(&str, &str)]) -> Program {
        let upstream = format!("http://{}", self.address.address);
        let (shared, token) = (self.path("shared"), self.path("token"));
        let (program, secret) = (self.program.display().to_string(), self.path("secret"));
        let mut all = vec![
            ("UPSTREAM", upstream.as_str()),
            ("SHARED", &shared),
            ("QUEUE", &self.queue),
            ("PROGRAM", &program),
            ("SECRET", &secret),
            ("TOKEN", &token),
        ];
        all.extend(settings);
        Program::start(env!("CARGO_BIN_EXE_neighbour"), &all)
    }

    /// What the neighbour prints first of one look.
    pub(crate) fn look(&self, at: &str) -> Program {
        self.neighbour(&[("LOOK_AT", at)])
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // An app that was killed has left it.
        let _ = mq_unlink(self.queue.as_str());
    }
}
