//! The sidecar as one writes it on the first day: reads once, writes once, and takes what it
//! got for the whole.

use std::env;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\n\
                     Content-Length: 27\r\nConnection: close\r\n\r\n<h1>Say hello to hyper</h1>";

fn main() -> io::Result<()> {
    let listen = env::var("LISTEN").unwrap_or("127.0.0.1:7979".to_owned());
    for client in TcpListener::bind(listen)?.incoming() {
        if let Err(error) = answer(client?) {
            println!("trouble: {error}");
        }
    }
    Ok(())
}

// ANCHOR: answer
/// Answers one client, while all others wait.
fn answer(mut client: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 512];
    let length = client.read(&mut buffer)?;
    let request = &buffer[..length];
    println!("receive a request");
    if request.starts_with(b"GET /hello ") {
        return client.write_all(HELLO.as_bytes());
    }

    let upstream = env::var("UPSTREAM").unwrap_or_default();
    let mut upstream = TcpStream::connect(upstream.trim_start_matches("http://"))?;
    upstream.write_all(request)?;
    let length = upstream.read(&mut buffer)?;
    client.write_all(&buffer[..length])
}
// ANCHOR_END: answer
