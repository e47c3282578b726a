//! Why a machine does not let the harness make a pod, and what would help.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::kubelet::runtime::StartError;

/// The sandbox does not work here: the step that failed, what forbids it, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// What was tried, and what the kernel said.
    pub failure: String,
    /// What forbids it, as far as can be told.
    pub cause: String,
    /// What to do about it.
    pub way_out: String,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the sandbox does not work here: {}\n{}\nWay out: {}",
            self.failure, self.cause, self.way_out
        )
    }
}

impl std::error::Error for Forbidden {}

/// What the machine says of itself.
#[derive(Debug, Default)]
struct Signs {
    /// `kernel.apparmor_restrict_unprivileged_userns`.
    apparmor_restricts: bool,
    /// `kernel.unprivileged_userns_clone` is there and 0.
    userns_clone_off: bool,
    /// A seccomp filter is installed on this very process.
    filtered: bool,
    /// A container engine left its mark.
    in_container: bool,
    /// The kernel's release.
    release: String,
}

impl Signs {
    fn read() -> Self {
        let setting =
            |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            apparmor_restricts: setting("kernel/apparmor_restrict_unprivileged_userns").trim()
                == "1",
            userns_clone_off: setting("kernel/unprivileged_userns_clone").trim() == "0",
            filtered: status
                .lines()
                .any(|line| line.split_whitespace().eq(["Seccomp:", "2"])),
            in_container: ["/.dockerenv", "/run/.containerenv"]
                .iter()
                .any(|mark| Path::new(mark).exists()),
            release: setting("kernel/osrelease").trim().to_owned(),
        }
    }
}

impl Forbidden {
    pub(super) fn explain(error: StartError) -> Self {
        Self::judge(&error, &Signs::read())
    }

    fn judge(error: &StartError, signs: &Signs) -> Self {
        let unshare = error.step.contains("unshare the user namespace");
        let says = |name: &str| error.error.contains(name);
        let (cause, way_out) = if signs.release.ends_with("-Microsoft") {
            (
                "This is WSL 1, which has no namespaces.",
                "use WSL 2: `wsl --set-version <distribution> 2`",
            )
        } else if unshare && says("ENOSPC") {
            (
                "The number of user namespaces is limited to none or too few.",
                "`sudo sysctl -w user.max_user_namespaces=10000`",
            )
        } else if signs.apparmor_restricts && !unshare {
            (
                "AppArmor takes from ordinary users what they may do in user namespaces \
                 (kernel.apparmor_restrict_unprivileged_userns is 1).",
                "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or run as root",
            )
        } else if unshare && says("EPERM") && signs.userns_clone_off {
            (
                "Ordinary users may not make user namespaces (kernel.unprivileged_userns_clone is 0).",
                "`sudo sysctl -w kernel.unprivileged_userns_clone=1`, or run as root",
            )
        } else if signs.filtered && signs.in_container || signs.filtered && unshare && says("EPERM")
        {
            (
                "This is a container, and its seccomp profile forbids namespaces.",
                "start it with `--privileged`, or with `--security-opt seccomp=unconfined \
                 --security-opt apparmor=unconfined --security-opt systempaths=unconfined`",
            )
        } else if unshare && says("EPERM") {
            (
                "This looks like a chroot, in which the kernel makes no user namespaces.",
                "leave the chroot",
            )
        } else {
            (
                "What forbids it is not known.",
                "`--engine docker` or `--engine kind` need no namespaces of their own",
            )
        };
        Self {
            failure: error.to_string(),
            cause: cause.to_owned(),
            way_out: way_out.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(step: &str, error: &str, signs: Signs) -> String {
        Forbidden::judge(
            &StartError {
                step: step.into(),
                error: error.into(),
            },
            &signs,
        )
        .way_out
    }

    #[test]
    fn each_known_sign_has_its_way_out() {
        let unshare = "unshare the user namespace";
        let eperm = "EPERM: Operation not permitted";
        let apparmor = Signs {
            apparmor_restricts: true,
            ..Signs::default()
        };
        assert!(judged("map user and group ids", eperm, apparmor).contains("apparmor_restrict"));
        let docker = Signs {
            filtered: true,
            in_container: true,
            ..Signs::default()
        };
        assert!(judged(unshare, eperm, docker).contains("--privileged"));
        assert!(
            judged(unshare, "ENOSPC: No space left on device", Signs::default())
                .contains("max_user_namespaces")
        );
        let hardened = Signs {
            userns_clone_off: true,
            ..Signs::default()
        };
        assert!(judged(unshare, eperm, hardened).contains("unprivileged_userns_clone"));
        assert!(judged(unshare, eperm, Signs::default()).contains("chroot"));
        let wsl = Signs {
            release: "4.4.0-19041-Microsoft".into(),
            ..Signs::default()
        };
        assert!(judged(unshare, "EINVAL: Invalid argument", wsl).contains("WSL 2"));
        assert!(judged("mount the pod's root", eperm, Signs::default()).contains("docker"));
    }
}
