//! Asks and answers over TCP.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::thread;
use std::time::Duration;

use crate::files::error_name;

/// Answers HTTP requests from now on, and prints each.
pub(crate) fn serve(address: &str, status: &str) {
    let listener = match TcpListener::bind(address) {
        Ok(listener) => listener,
        Err(error) => {
            println!("serve {address}: {}", error_name(&error));
            std::process::exit(1);
        }
    };
    println!("serves {address}");
    let status = status.to_owned();
    thread::spawn(move || {
        // Whoever connects and says nothing is a TCP probe.
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &status);
        }
    });
}

fn answer(mut stream: TcpStream, status: &str) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(request) = lines.next().transpose()? else {
        return Ok(());
    };
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    println!("{request}");
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: 3\r\nconnection: close\r\n\r\nyes"
    )
}

pub(crate) fn get(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// Connects to a TCP address, or with `@name` to a socket of the machine that has no path.
pub(crate) fn connect(address: &str) -> io::Result<String> {
    match address.strip_prefix('@') {
        Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop),
        None => TcpStream::connect(address).map(drop),
    }?;
    Ok("connected".to_owned())
}

/// Waits until a name leads to so many addresses, and to none but these.
pub(crate) fn resolve(name: &str, addresses: usize) {
    let count = || {
        let found = (name, 0).to_socket_addrs().into_iter().flatten();
        found.collect::<HashSet<_>>().len()
    };
    while count() != addresses {
        thread::sleep(Duration::from_millis(20));
    }
    println!("{name} leads to {addresses}");
}

pub(crate) fn interfaces() -> io::Result<String> {
    let table = fs::read_to_string("/proc/net/dev")?;
    let names: Vec<&str> = table
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
        .collect();
    Ok(names.join(" "))
}
