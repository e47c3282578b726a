//! What the app learns, and from whom.

use sidecar_testing::http::{Server, Upstream};

use crate::kit::{Key, KeyServer, bearing, get, sidecar};

struct Before {
    upstream: Upstream,
    sidecar: Server,
    token: String,
    _keys: KeyServer,
}

fn before() -> Before {
    let key = Key::new("one");
    let keys = KeyServer::of(&key);
    let upstream = Upstream::new();
    let sidecar = sidecar(&keys.url, &upstream.url(), &[]);
    Before {
        upstream,
        sidecar,
        token: bearing(&key.token_for("alice")),
        _keys: keys,
    }
}

#[test]
fn the_app_learns_who_asks_and_not_the_token() {
    let gate = before();
    let mut client = gate
        .sidecar
        .send(get(&format!("{}X-Own: 1\r\n", gate.token)));
    let mut app = gate.upstream.accept();
    let request = app.head();
    assert_eq!(request.start, "GET /orders HTTP/1.1");
    let mut fields: Vec<_> = request.fields.iter().map(|(name, _)| &**name).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["host", "via", "x-forwarded-for", "x-own", "x-user"]
    );
    assert_eq!(request.get("x-user"), Some("alice"));
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.message().1, "hi");
}

#[test]
fn nobody_else_can_say_who_asks() {
    for fields in [
        "X-User: boss\r\n",
        "x-user: boss\r\n",
        "X-USER: boss\r\n",
        "X_User: boss\r\n",
        "x_user: boss\r\n",
        "X-User: boss\r\nX-User: root\r\nX_USER: boss\r\n",
        "X-User:\r\n",
        "X-User: alice\r\n",
        "Connection: close\r\nX-User: boss\r\n",
        "Connection: authorization\r\nX-User: boss\r\n",
    ] {
        for order in [true, false] {
            let gate = before();
            let fields = match order {
                true => format!("{}{fields}", gate.token),
                false => format!("{fields}{}", gate.token),
            };
            let _client = gate.sidecar.send(get(&fields));
            let request = gate.upstream.accept().head();
            let users: Vec<_> = request
                .fields
                .iter()
                .filter(|(name, _)| name.replace('_', "-") == "x-user")
                .collect();
            assert_eq!(
                users,
                [&("x-user".to_owned(), "alice".to_owned())],
                "{fields}"
            );
            assert_eq!(request.get("authorization"), None, "{fields}");
        }
    }
}

#[test]
fn nobody_can_have_the_name_taken_away() {
    for option in [
        "X-User",
        "x-user",
        "close, X-USER",
        "X-User, close",
        " ,x-user,",
        "x_user",
    ] {
        let gate = before();
        let fields = format!("{}Connection: {option}\r\n", gate.token);
        let (head, body) = gate.sidecar.send(get(&fields)).message();
        assert_eq!(head.status(), "400 Bad Request", "{option}");
        assert_eq!(body, "Connection names X-User\n");
        gate.upstream.has_no_further_connection();
    }
    let gate = before();
    let twice = format!("{}Connection: close\r\nConnection: x-user\r\n", gate.token);
    assert_eq!(
        gate.sidecar.send(get(&twice)).head().status(),
        "400 Bad Request"
    );
}

#[test]
fn a_name_in_disguise_is_no_request() {
    for field in [
        "X-User : boss",
        "X-User\t: boss",
        " X-User: boss",
        "X-\u{55}ser\u{b}: boss",
    ] {
        let gate = before();
        let request = format!(
            "GET /orders HTTP/1.1\r\nHost: a\r\n{}{field}\r\n\r\n",
            gate.token
        );
        let mut client = gate.sidecar.send(request);
        if let Ok(head) = client.try_head() {
            assert_eq!(head.status(), "400 Bad Request", "{field}");
        }
        gate.upstream.has_no_further_connection();
    }
}

#[test]
fn a_name_after_the_body_stays_here() {
    let gate = before();
    let _client = gate.sidecar.send(format!(
        "POST /orders HTTP/1.1\r\nHost: a\r\n{}Transfer-Encoding: chunked\r\nTE: trailers\r\n\
         Trailer: X-User\r\n\r\n3\r\ntea\r\n0\r\nX-User: boss\r\n\r\n",
        gate.token
    ));
    let mut app = gate.upstream.accept();
    let request = app.head();
    assert_eq!(request.get("x-user"), Some("alice"));
    assert_eq!(request.get("trailer"), None);
    assert_eq!(app.chunk().unwrap(), b"tea");
    assert_eq!(app.chunk().unwrap(), b"");
    assert_eq!(app.trailers(), "");
}

#[test]
fn each_request_of_a_connection_is_asked_for_its_own_token() {
    let gate = before();
    let mut client = gate.sidecar.connect();
    client.send(get(&gate.token));
    let mut app = gate.upstream.accept();
    app.head();
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.message().0.status(), "200 OK");
    client.send(get(""));
    assert_eq!(client.message().0.status(), "401 Unauthorized");
    gate.upstream.has_no_further_connection();
}
