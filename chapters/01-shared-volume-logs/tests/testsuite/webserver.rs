//! The app: it answers, logs, rotates, and ends what it has begun.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::*;

struct Webserver {
    program: Program,
    address: SocketAddr,
}

impl Webserver {
    fn start(volumes: &Volumes, rotate_at: u64, keep: u64) -> Webserver {
        Webserver::start_with_buffer(volumes, rotate_at, keep, 1)
    }

    fn start_with_buffer(volumes: &Volumes, rotate_at: u64, keep: u64, buffer: u64) -> Webserver {
        let settings = [
            ("LISTEN", OsString::from("127.0.0.1:0")),
            ("LOG_PATH", volumes.log().into()),
            ("ROTATE_AT", rotate_at.to_string().into()),
            ("KEEP", keep.to_string().into()),
            ("BUFFER", buffer.to_string().into()),
        ];
        let program = Program::start(WEBSERVER, &settings);
        program.wait_until("the address", |printed| printed.ends_with(b"\n"));
        let printed = String::from_utf8(program.printed()).unwrap();
        let address = printed
            .trim_end()
            .strip_prefix("listening on ")
            .unwrap()
            .parse()
            .unwrap();
        Webserver { program, address }
    }

    fn get(&self, path: &str) -> String {
        let mut connection = TcpStream::connect(self.address).unwrap();
        write!(
            connection,
            "GET {path} HTTP/1.1\r\nHost: webserver\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut response = String::new();
        connection.read_to_string(&mut response).unwrap();
        response
    }
}

#[test]
fn each_request_is_a_line_before_it_is_answered() {
    let volumes = Volumes::new();
    let webserver = Webserver::start(&volumes, 1 << 20, 3);
    assert!(webserver.get("/a").starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(fs::read_to_string(volumes.log()).unwrap(), "GET /a 200\n");
    webserver.get("/b?c=d");
    assert_eq!(
        fs::read_to_string(volumes.log()).unwrap(),
        "GET /a 200\nGET /b 200\n"
    );
    webserver.program.terminate();
}

#[test]
fn the_log_is_rotated_by_size_and_the_last_few_are_kept() {
    let volumes = Volumes::new();
    let webserver = Webserver::start(&volumes, 25, 2);
    for path in ["/1", "/2", "/3", "/4", "/5", "/6", "/7"] {
        webserver.get(path);
    }
    let read = |path| fs::read_to_string(path).unwrap();
    assert_eq!(read(volumes.log()), "GET /7 200\n");
    assert_eq!(read(volumes.rotated(1)), "GET /5 200\nGET /6 200\n");
    assert_eq!(read(volumes.rotated(2)), "GET /3 200\nGET /4 200\n");
    assert!(!volumes.rotated(3).exists());
    let printed = String::from_utf8(webserver.program.terminate()).unwrap();
    let rotated = format!(
        "{} is full, and is {} now",
        volumes.log().display(),
        volumes.rotated(1).display()
    );
    assert_eq!(printed.lines().skip(1).collect::<Vec<_>>(), [&rotated; 3]);
    // A restarted app goes on in the file that is there.
    let webserver = Webserver::start(&volumes, 25, 2);
    webserver.get("/8");
    webserver.get("/9");
    assert_eq!(read(volumes.log()), "GET /9 200\n");
    assert_eq!(read(volumes.rotated(1)), "GET /7 200\nGET /8 200\n");
}

#[test]
fn a_buffer_is_written_when_it_is_full_and_at_an_orderly_end() {
    let volumes = Volumes::new();
    let read = || fs::read_to_string(volumes.log()).unwrap();
    let webserver = Webserver::start_with_buffer(&volumes, 1 << 20, 3, 16);
    webserver.get("/1");
    assert_eq!(read(), "");
    webserver.get("/2");
    assert_eq!(read(), "GET /1 200\nGET /");
    webserver.program.terminate();
    assert_eq!(read(), "GET /1 200\nGET /2 200\n");
}

#[test]
fn what_is_in_the_buffer_of_a_killed_app_is_lost_in_the_middle_of_a_line() {
    let volumes = Volumes::new();
    let webserver = Webserver::start_with_buffer(&volumes, 1 << 20, 3, 16);
    for path in ["/1", "/2", "/3"] {
        webserver.get(path);
    }
    webserver.program.kill();
    let webserver = Webserver::start(&volumes, 1 << 20, 3);
    webserver.get("/4");
    webserver.program.terminate();
    assert_eq!(
        fs::read_to_string(volumes.log()).unwrap(),
        "GET /1 200\nGET /2 200\nGET /3 200GET /4 200\n"
    );
}

#[test]
fn a_rotation_leaves_nothing_in_the_buffer() {
    let volumes = Volumes::new();
    let webserver = Webserver::start_with_buffer(&volumes, 25, 2, 16);
    for path in ["/1", "/2", "/3"] {
        webserver.get(path);
    }
    let rotated = fs::read_to_string(volumes.rotated(1)).unwrap();
    assert_eq!(rotated, "GET /1 200\nGET /2 200\n");
    webserver.program.terminate();
    assert_eq!(fs::read_to_string(volumes.log()).unwrap(), "GET /3 200\n");
}

#[test]
fn at_sigterm_requests_in_flight_are_answered() {
    let volumes = Volumes::new();
    let webserver = Webserver::start(&volumes, 1 << 20, 3);
    let mut idle = TcpStream::connect(webserver.address).unwrap();
    let mut request = TcpStream::connect(webserver.address).unwrap();
    // When the server asks for the body, the request is in flight.
    request
        .write_all(b"POST /upload HTTP/1.1\r\nHost: webserver\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    let mut asked = [0; 25];
    request.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    webserver.program.signal(Signal::TERM);
    wait_until("no new connection is accepted", || {
        TcpStream::connect(webserver.address).is_err()
    });
    assert_eq!(
        idle.read(&mut [0]).unwrap(),
        0,
        "an idle connection is closed"
    );
    request.write_all(b"body").unwrap();
    let mut response = String::new();
    request.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert_eq!(webserver.program.ended().0, Some(0));
    assert_eq!(
        fs::read_to_string(volumes.log()).unwrap(),
        "POST /upload 200\n"
    );
}

#[test]
fn a_full_disk_is_not_the_clients_fault() {
    let volumes = Volumes::new();
    std::os::unix::fs::symlink("/dev/full", volumes.log()).unwrap();
    let webserver = Webserver::start(&volumes, 1 << 20, 3);
    assert!(webserver.get("/a").starts_with("HTTP/1.1 200 OK\r\n"));
    let printed = String::from_utf8(webserver.program.terminate()).unwrap();
    let last = printed.lines().last().unwrap();
    let expected = format!(
        "webserver: cannot write to {}: No space left on device",
        volumes.log().display()
    );
    assert!(last.starts_with(&expected), "{last}");
}

#[test]
fn what_it_cannot_use_is_named() {
    let volumes = Volumes::new();
    let webserver = Webserver::start(&volumes, 1 << 20, 3);
    let start = |listen: String, log: OsString| {
        let (code, printed) =
            Program::start(WEBSERVER, &[("LISTEN", listen.into()), ("LOG_PATH", log)]).ended();
        assert_eq!(code, Some(1));
        String::from_utf8(printed).unwrap()
    };
    let printed = start(webserver.address.to_string(), volumes.log().into());
    let expected = format!(
        "webserver: cannot listen on LISTEN={}; another port may be free: ",
        webserver.address
    );
    assert!(
        printed.starts_with(&expected) && printed.lines().count() == 1,
        "{printed}"
    );
    let printed = start(
        "127.0.0.1:0".to_owned(),
        "/no/such/folder/access.log".into(),
    );
    let expected = "webserver: cannot write to LOG_PATH=/no/such/folder/access.log; a path on a volume would do: ";
    assert!(
        printed.starts_with(expected) && printed.lines().count() == 1,
        "{printed}"
    );
}

#[test]
fn the_sidecar_ships_what_the_app_logs() {
    let volumes = Volumes::new();
    let sidecar = volumes.sidecar();
    let webserver = Webserver::start(&volumes, 200, 1000);
    let mut expected = String::new();
    let mut shipped = Vec::new();
    let mut running = sidecar;
    for number in 0..300 {
        webserver.get(&format!("/{number}"));
        expected += &format!("GET /{number} 200\n");
        if number % 50 == 49 {
            shipped.extend(running.terminate());
            running = volumes.sidecar();
        }
    }
    webserver.program.terminate();
    shipped.extend(running.terminate());
    assert_same(&without_notes(&shipped), expected.as_bytes());
}
