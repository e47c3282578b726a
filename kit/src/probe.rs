//! The answer to an exec probe: images have no shell and no `curl`, so a program that needs such a
//! probe asks itself.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::{ExitCode, exit};
use std::time::Duration;

/// How long to wait for each part of the answer. The kubelet gives up after `timeoutSeconds`, which
/// is 1 where the manifest does not say.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the program was started as `PROGRAM probe`, by an exec probe in its own container.
///
/// Any other argument ends the program with exit code 2 and one line: settings are environment
/// variables, and an argument that nobody reads would hide a mistake.
pub fn asked_to_probe() -> bool {
    match std::env::args().nth(1).as_deref() {
        None => false,
        Some("probe") => true,
        Some(other) => {
            println!("{other:?} is no command of this program; `probe` is the only one");
            exit(2);
        }
    }
}

/// Asks the program that listens on `address` for `path`, and says by the exit code whether the
/// answer was one of success (200 to 299).
pub fn probe(address: SocketAddr, path: &str) -> ExitCode {
    match status(address, path) {
        Ok(status) if (200..300).contains(&status) => ExitCode::SUCCESS,
        Ok(status) => {
            println!("{path} answers {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{path} does not answer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn status(address: SocketAddr, path: &str) -> io::Result<u16> {
    // Who listens on every address of the pod is asked on its loopback.
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // `HTTP/1.1 200`: the rest of the answer is of no interest.
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    std::str::from_utf8(&start)
        .ok()
        .filter(|start| start.starts_with("HTTP/1."))
        .and_then(|start| start[9..].parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "that is not HTTP"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Asks a server that answers with `answer`.
    fn asked(answer: &'static str) -> io::Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let server = thread::spawn(move || -> io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            // To close a connection with something unread in it would reset it.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                request.extend(byte);
            }
            stream.write_all(answer.as_bytes())
        });
        let status = status(
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
            "/ready",
        );
        server.join().expect("the server does not panic")?;
        status
    }

    #[test]
    fn the_status_of_an_answer() {
        assert_eq!(asked("HTTP/1.1 204 No Content\r\n\r\n").ok(), Some(204));
        assert_eq!(asked("HTTP/1.0 503\r\n\r\n").ok(), Some(503));
    }

    #[test]
    fn what_is_no_answer() {
        let kind = |answer| asked(answer).map_err(|error| error.kind());
        assert_eq!(kind("HTTP/1.1"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(kind("SSH-2.0-OpenSSH_9.2"), Err(io::ErrorKind::InvalidData));
        assert_eq!(
            kind("HTTP/1.1 \u{e9}\u{e9}\r\n"),
            Err(io::ErrorKind::InvalidData)
        );
    }
}
