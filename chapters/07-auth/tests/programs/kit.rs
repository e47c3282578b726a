//! Both neighbours of the sidecar, played by the test: a key server, and an app.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use auth::new_key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use sidecar_testing::http::{Connection, Head, Server};

/// Who makes the tokens.
pub(crate) const ISSUER: &str = "https://issuer.example";

/// A key of an issuer.
pub(crate) struct Key {
    pub(crate) kid: &'static str,
    pub(crate) private: EncodingKey,
    pub(crate) algorithm: Algorithm,
}

impl Key {
    /// A new key for Ed25519.
    pub(crate) fn new(kid: &'static str) -> Self {
        Self {
            kid,
            private: new_key(),
            algorithm: Algorithm::EdDSA,
        }
    }

    /// The public key, as a key set has it.
    pub(crate) fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    /// A header that names this key.
    pub(crate) fn header(&self) -> Header {
        Header {
            kid: Some(self.kid.to_owned()),
            ..Header::new(self.algorithm)
        }
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.private).unwrap()
    }

    /// A good token for `sub`.
    pub(crate) fn token_for(&self, sub: &str) -> String {
        self.token(&with(json!({ "sub": sub })))
    }

    /// A token whose parts are written by the test, and signed as they are.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64(header), base64(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Good claims, with these in place of theirs. `null` takes one away.
pub(crate) fn with(others: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "aud": "orders",
        "sub": "alice",
        "scope": "orders:read orders:write",
        "exp": get_current_timestamp() + 600,
    });
    let all = claims.as_object_mut().unwrap();
    for (name, value) in others.as_object().unwrap() {
        all.insert(name.clone(), value.clone());
    }
    all.retain(|_, value| !value.is_null());
    claims
}

/// A key set of these keys.
pub(crate) fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A key server, in threads of the test.
pub(crate) struct KeyServer {
    pub(crate) url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    /// Publishes this key.
    pub(crate) fn of(key: &Key) -> Self {
        let server = Self::answering("");
        server.publish(&[key]);
        server
    }

    /// Sends these bytes, and hangs up.
    pub(crate) fn answering(bytes: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            url: format!("http://{}/jwks", listener.local_addr().unwrap()),
            answer: Arc::new(Mutex::new(bytes.to_owned())),
            asked: Arc::default(),
        };
        let (answer, asked) = (server.answer.clone(), server.asked.clone());
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                if read_head(&mut BufReader::new(&stream)).is_none() {
                    continue;
                }
                asked.fetch_add(1, Ordering::SeqCst);
                // The sidecar may hang up in the middle of it.
                let _ = stream.write_all(answer.lock().unwrap().as_bytes());
            }
        });
        server
    }

    /// From now on, the set is this.
    pub(crate) fn publish(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        self.answer(&ok(&key_set(&keys)));
    }

    /// From now on, it sends these bytes, and hangs up.
    pub(crate) fn answer(&self, bytes: &str) {
        bytes.clone_into(&mut self.answer.lock().unwrap());
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A whole answer with this body.
pub(crate) fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// An app that answers with what it was sent, and counts.
pub(crate) struct App {
    pub(crate) url: String,
    asked: Arc<AtomicUsize>,
}

impl App {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            asked: Arc::default(),
        };
        let asked = app.asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let asked = asked.clone();
                thread::spawn(move || serve(&stream, &asked));
            }
        });
        app
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: &TcpStream, asked: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader) {
        asked.fetch_add(1, Ordering::SeqCst);
        let length = head.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}");
        if stream.write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
}

/// Reads a head, and no body; nothing if the connection ends before.
fn read_head(reader: &mut BufReader<impl Read>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// The sidecar before an app, with a key server.
pub(crate) fn sidecar(keys: &str, app: &str, settings: &[(&str, &str)]) -> Server {
    let mut all = vec![
        ("ISSUER", ISSUER),
        ("JWKS_URL", keys),
        ("UPSTREAM", app),
        // Whoever tests how long is waited sets this.
        ("TIMEOUT", "1h"),
        ("JWKS_TIMEOUT", "1h"),
    ];
    all.extend(settings);
    Server::start(env!("CARGO_BIN_EXE_sidecar-auth"), &all)
}

/// The head of a request with these fields, each with its end of line.
pub(crate) fn get(fields: &str) -> String {
    format!("GET /orders HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// A field with a token.
pub(crate) fn bearing(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Asks with a token over a connection.
pub(crate) fn ask(client: &mut Connection, token: &str) -> (Head, String) {
    client.send(get(&bearing(token)));
    client.message()
}

/// The status of the answer to a request with this token.
pub(crate) fn status(sidecar: &Server, token: &str) -> String {
    ask(&mut sidecar.connect(), token).0.status().to_owned()
}

/// What a client is told of a token that is not believed.
pub(crate) fn invalid(why: &str) -> String {
    format!("Bearer realm=\"orders\", error=\"invalid_token\", error_description=\"{why}\"")
}
