//! What the harness keeps outside of a checkout: which cluster is the workbook's own must be known
//! after `cargo clean`, and to a second clone.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use tokio::net::TcpStream;

/// The name of the kubeconfig in the folder.
const KUBECONFIG: &str = "kubeconfig";

/// Where the folder is, or would be.
fn place() -> anyhow::Result<PathBuf> {
    let base = match (std::env::var_os("XDG_STATE_HOME"), std::env::home_dir()) {
        (Some(folder), _) if Path::new(&folder).is_absolute() => PathBuf::from(folder),
        (_, Some(home)) => home.join(".local").join("state"),
        (_, None) => {
            bail!("neither XDG_STATE_HOME nor HOME says where the workbook can keep its kubeconfig")
        }
    };
    Ok(base.join("sidecar-workbook"))
}

/// The folder, which is made if it is missing.
///
/// # Errors
///
/// If it cannot be made, or nothing says where it should be.
#[cfg(feature = "kind")]
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    use anyhow::Context;

    let folder = place()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The harness's own kubeconfig, which is there from when the workbook's cluster is brought up
/// until it is taken down.
///
/// # Errors
///
/// As [`folder`].
#[cfg(feature = "kind")]
pub(crate) fn kubeconfig() -> anyhow::Result<PathBuf> {
    Ok(folder()?.join(KUBECONFIG))
}

/// Whether somebody listens where the workbook's cluster was. This needs no Kubernetes client, and
/// leaves nothing behind where there never was a cluster.
pub async fn cluster_may_be_up() -> bool {
    let config = place().and_then(|folder| Ok(fs::read_to_string(folder.join(KUBECONFIG))?));
    let Some(port) = config.ok().and_then(|config| port_of(&config)) else {
        return false;
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connected = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address));
    matches!(connected.await, Ok(Ok(_)))
}

/// The port of this machine at which a kubeconfig of kind says that the API server is.
fn port_of(config: &str) -> Option<u16> {
    let mut lines = config.lines().map(str::trim);
    lines.find_map(|line| {
        let address = line.strip_prefix("server: https://127.0.0.1:")?;
        address.trim_end_matches('/').parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_the_api_server() {
        let config = "apiVersion: v1\nclusters:\n- cluster:\n    server: https://127.0.0.1:39561\n  name: kind\n";
        assert_eq!(port_of(config), Some(39561));
        assert_eq!(port_of("server: https://10.0.0.1:6443"), None);
    }
}
