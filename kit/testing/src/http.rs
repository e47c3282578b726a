//! HTTP by the byte: both ends of what passes through a sidecar are played by the test.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::{PATIENCE, Program, ReservedAddress, eventually};

/// A program that listens.
pub struct Server {
    /// The program.
    pub program: Program,
    /// Where it listens.
    pub address: SocketAddr,
    _reserved: ReservedAddress,
}

impl Server {
    /// Starts the program at `path` with these settings, and with an address in `LISTEN`.
    pub fn start(path: &str, settings: &[(&str, &str)]) -> Self {
        let reserved = ReservedAddress::new();
        let listen = reserved.address.to_string();
        let mut all = vec![("LISTEN", &*listen)];
        all.extend(settings);
        Self {
            program: Program::start(path, &all),
            address: reserved.address,
            _reserved: reserved,
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Opens a connection, as soon as it listens.
    pub fn connect(&self) -> Connection {
        Connection::new(eventually("the program listens", || {
            TcpStream::connect(self.address).ok()
        }))
    }

    /// Sends bytes over a new connection.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Connection {
        let mut connection = self.connect();
        connection.send(bytes);
        connection
    }
}

/// An upstream that is played by the test.
pub struct Upstream(TcpListener);

#[allow(clippy::new_without_default, reason = "each one is another")]
impl Upstream {
    /// Listens on an address of its own.
    pub fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// What the upstream is called in `Host`.
    pub fn host(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// The next connection that the sidecar opens.
    pub fn accept(&self) -> Connection {
        self.0.set_nonblocking(true).unwrap();
        let (stream, _) = eventually("the sidecar connects", || self.0.accept().ok());
        stream.set_nonblocking(false).unwrap();
        Connection::new(stream)
    }

    /// Asserts that the sidecar has opened no further connection.
    pub fn has_no_further_connection(&self) {
        self.0.set_nonblocking(true).unwrap();
        let refused = self.0.accept().expect_err("there is a further connection");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}

/// One end of a connection.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes to someone who may hang up in the middle of them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends until nothing more is taken for a while, and returns how many bytes were.
    pub fn send_until_held_back(&mut self) -> usize {
        self.stream
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let mut sent = 0;
        while sent < 200_000_000 {
            match self.stream.write(&[b'a'; 65536]) {
                Ok(length) => sent += length,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                    break;
                }
            }
        }
        sent
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 65536];
        // A signal ends a read that has a limit in time, even where nobody handles it.
        let length = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.read.extend_from_slice(&buffer[..length]);
        Ok(length)
    }

    /// Reads up to and with `end`; an error if the connection ends before it.
    fn read_through(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let found = self
                .read
                .windows(end.len())
                .position(|window| window == end);
            if let Some(start) = found {
                return Ok(self.read.drain(..start + end.len()).collect());
            }
            if self.read_more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads so many bytes; an error if the connection ends before them.
    pub fn read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < length {
            if self.read_more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.read.drain(..length).collect())
    }

    /// Reads the head of a message.
    pub fn try_head(&mut self) -> io::Result<Head> {
        let head = String::from_utf8(self.read_through(b"\r\n\r\n")?).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let fields = lines
            .map(|line| line.split_once(": ").unwrap_or((line, "")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Ok(Head { start, fields })
    }

    /// Reads the head of a message that is certain to come.
    pub fn head(&mut self) -> Head {
        self.try_head().unwrap()
    }

    /// Reads one chunk of a chunked body; the last one is empty.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let size = String::from_utf8(self.read_through(b"\r\n")?).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let data = self.read_exact(size)?;
        if size > 0 {
            assert_eq!(self.read_exact(2)?, b"\r\n");
        }
        Ok(data)
    }

    /// Reads what follows the last chunk.
    pub fn trailers(&mut self) -> String {
        let mut trailers = String::new();
        loop {
            let line = String::from_utf8(self.read_through(b"\r\n").unwrap()).unwrap();
            if line == "\r\n" {
                return trailers;
            }
            trailers += &line;
        }
    }

    /// Reads the body that belongs to this head; an error if it does not come to its end.
    pub fn try_body(&mut self, head: &Head) -> io::Result<String> {
        let body = if head.get("transfer-encoding") == Some("chunked") {
            let mut body = Vec::new();
            loop {
                match self.chunk()? {
                    chunk if chunk.is_empty() => break,
                    chunk => body.extend(chunk),
                }
            }
            self.trailers();
            body
        } else {
            let length = head.get("content-length").unwrap_or("0").parse().unwrap();
            self.read_exact(length)?
        };
        Ok(String::from_utf8(body).unwrap())
    }

    /// Reads a message that is certain to come.
    pub fn message(&mut self) -> (Head, String) {
        let head = self.head();
        let body = self.try_body(&head).unwrap();
        (head, body)
    }

    /// Reads until the other end closes the connection; an error if that is a reset.
    pub fn rest(&mut self) -> io::Result<String> {
        while self.read_more()? > 0 {}
        Ok(String::from_utf8(std::mem::take(&mut self.read)).unwrap())
    }

    /// Waits until the other end closes the connection, in whichever way.
    pub fn is_closed_by_the_other_end(&mut self) {
        match self.rest() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection is not closed: {error}"),
        }
    }
}

/// The head of a message.
#[derive(Debug)]
pub struct Head {
    /// The request line or the status line.
    pub start: String,
    /// Names in small letters, in the order of the message.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// The value of a field; a message that has it twice fails the test.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} is there twice: {self:#?}");
        value.map(|(_, value)| &**value)
    }

    /// The status of an answer.
    pub fn status(&self) -> &str {
        self.start.split_once(' ').unwrap().1
    }
}
