//! Which tokens are let through.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use sidecar_testing::http::Server;

use crate::kit::{
    App, ISSUER, Key, KeyServer, ask, base64, bearing, get, invalid, key_set, ok, sidecar, status,
    with,
};

/// A sidecar with the key `one`, before an app.
struct Gate {
    key: Key,
    keys: KeyServer,
    app: App,
    sidecar: Server,
}

impl Gate {
    fn new() -> Self {
        let key = Key::new("one");
        let keys = KeyServer::of(&key);
        let app = App::new();
        let sidecar = sidecar(&keys.url, &app.url, &[("PAUSE", "1h")]);
        Self {
            key,
            keys,
            app,
            sidecar,
        }
    }

    /// Asserts that the token is refused, for this reason, and does not reach the app.
    fn refuses(&self, token: &str, why: &str) {
        let before = self.app.asked();
        let (head, body) = ask(&mut self.sidecar.connect(), token);
        assert_eq!(head.status(), "401 Unauthorized", "{token}");
        assert_eq!(
            head.get("www-authenticate"),
            Some(&*invalid(why)),
            "{token}"
        );
        assert_eq!(body, format!("{why}\n"));
        assert_eq!(self.app.asked(), before, "{token}");
    }

    fn lets_through(&self, token: &str) {
        assert_eq!(status(&self.sidecar, token), "200 OK", "{token}");
    }
}

#[test]
fn a_request_without_a_token_is_told_of_no_error() {
    let gate = Gate::new();
    for fields in ["", "Authorization: Basic YTpi\r\n", "X-User: boss\r\n"] {
        let (head, body) = gate.sidecar.send(get(fields)).message();
        assert_eq!(head.status(), "401 Unauthorized");
        assert_eq!(
            head.get("www-authenticate"),
            Some("Bearer realm=\"orders\"")
        );
        assert_eq!(body, "the request has no token\n");
    }
    // Nor is one in the URL looked at, which would be in everybody's logs.
    let token = gate.key.token_for("alice");
    let url = format!("GET /orders?access_token={token} HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, _) = gate.sidecar.send(url).message();
    assert_eq!(
        head.get("www-authenticate"),
        Some("Bearer realm=\"orders\"")
    );
    assert_eq!(gate.app.asked(), 0);
}

#[test]
fn what_cannot_be_a_token_is_400() {
    let gate = Gate::new();
    let token = gate.key.token_for("alice");
    for (fields, why) in [
        (
            "Authorization: Bearer\r\n".to_owned(),
            "what follows Bearer is no token",
        ),
        (
            "Authorization: Bearer a b\r\n".to_owned(),
            "what follows Bearer is no token",
        ),
        (
            format!("Authorization: Bearer {token}, Bearer {token}\r\n"),
            "what follows Bearer is no token",
        ),
        (
            bearing(&token) + &bearing(&token),
            "the request has more than one Authorization",
        ),
        (
            bearing(&token) + "Authorization: Basic YTpi\r\n",
            "the request has more than one Authorization",
        ),
    ] {
        let (head, _) = gate.sidecar.send(get(&fields)).message();
        assert_eq!(head.status(), "400 Bad Request", "{fields}");
        let challenge = format!(
            "Bearer realm=\"orders\", error=\"invalid_request\", error_description=\"{why}\""
        );
        assert_eq!(head.get("www-authenticate"), Some(&*challenge));
    }
    assert_eq!(gate.app.asked(), 0);
}

#[test]
fn claims() {
    const READ: &str = "the token's claims cannot be read";
    let gate = Gate::new();
    let now = get_current_timestamp();
    for others in [
        json!({}),
        json!({"aud": ["payments", "orders"]}),
        // The clocks may differ by LEEWAY, which is 30 s.
        json!({"exp": now - 15}),
        json!({"nbf": now + 15}),
        json!({"nbf": now - 1000}),
        json!({"exp": now as f64 + 600.5}),
        json!({"exp": u64::MAX}),
        json!({"of-no-interest": {"a": [1, 2]}}),
    ] {
        gate.lets_through(&gate.key.token(&with(others)));
    }
    for (others, why) in [
        (json!({"exp": now - 60}), "the token has expired"),
        (json!({"exp": 0}), "the token has expired"),
        (json!({"exp": null}), "the token lacks exp"),
        (json!({"exp": "9999999999"}), READ),
        (json!({"exp": -1}), "the token lacks exp"),
        (json!({"nbf": now + 60}), "the token is not valid yet"),
        (json!({"nbf": "yesterday"}), READ),
        (
            json!({"iss": "https://issuer.example/"}),
            "the token is from another issuer",
        ),
        (
            json!({"iss": "https://evil.example"}),
            "the token is from another issuer",
        ),
        (json!({"iss": null}), "the token lacks iss"),
        (json!({"iss": ["https://evil.example", ISSUER]}), READ),
        (
            json!({"aud": "payments"}),
            "the token is for another audience",
        ),
        (
            json!({"aud": ["payments"]}),
            "the token is for another audience",
        ),
        (json!({"aud": []}), "the token is for another audience"),
        (
            json!({"aud": "orders payments"}),
            "the token is for another audience",
        ),
        (json!({"aud": null}), "the token lacks aud"),
        (json!({"aud": {"orders": true}}), "the token lacks aud"),
        (json!({"sub": null}), "the token lacks sub"),
        (json!({"sub": 7}), READ),
        (json!({"scope": ["orders:read"]}), READ),
        (
            json!({"sub": ""}),
            "the token's sub is no name for a header",
        ),
        (
            json!({"sub": "alice\r\nX-User: boss"}),
            "the token's sub is no name for a header",
        ),
        (
            json!({"sub": "alice, boss"}),
            "the token's sub is no name for a header",
        ),
        (
            json!({"sub": "\u{e9}lise"}),
            "the token's sub is no name for a header",
        ),
        (
            json!({"sub": "a".repeat(256)}),
            "the token's sub is no name for a header",
        ),
    ] {
        gate.refuses(&gate.key.token(&with(others)), why);
    }
}

#[test]
fn claims_that_are_there_twice_are_not_read() {
    let gate = Gate::new();
    let header = serde_json::to_string(&gate.key.header()).unwrap();
    let claims = with(json!({})).to_string();
    gate.lets_through(&gate.key.sign(&header, &claims));
    for twice in [
        r#"{"sub":"boss","#,
        r#"{"exp":99999999999,"#,
        r#"{"scope":"a","#,
    ] {
        let claims = claims.replacen('{', twice, 1);
        let token = gate.key.sign(&header, &claims);
        gate.refuses(&token, "the token's claims cannot be read");
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let gate = Gate::new();
    let claims = base64(with(json!({"sub": "boss"})).to_string());
    let good = gate.key.token_for("alice");
    let signature = good.rsplit_once('.').unwrap().1;
    for alg in ["none", "None", "NONE", "nOnE", "", "null"] {
        let header = base64(json!({"alg": alg, "typ": "JWT", "kid": "one"}).to_string());
        for end in ["", signature] {
            gate.refuses(
                &format!("{header}.{claims}.{end}"),
                "the token cannot be read, or is not signed",
            );
        }
    }
    // One that claims to be signed, and is not.
    let header = good.split_once('.').unwrap().0;
    gate.refuses(
        &format!("{header}.{claims}."),
        "the token's signature is wrong",
    );
}

#[test]
fn the_public_key_is_no_password() {
    let gate = Gate::new();
    let jwk: Jwk = serde_json::from_value(gate.key.public()).unwrap();
    let AlgorithmParameters::OctetKeyPair(public) = &jwk.algorithm else {
        panic!("another kind of key");
    };
    let raw = {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(&public.x)
            .unwrap()
    };
    let passwords: [&[u8]; 4] = [
        &raw,
        public.x.as_bytes(),
        &serde_json::to_vec(&jwk).unwrap(),
        b"",
    ];
    for password in passwords {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header {
                kid: Some("one".to_owned()),
                ..Header::new(algorithm)
            };
            let secret = EncodingKey::from_secret(password);
            let token = encode(&header, &with(json!({"sub": "boss"})), &secret).unwrap();
            gate.refuses(&token, "the token is not signed with EdDSA");
            // The same signature, under the name of the algorithm that is wanted.
            let (_, claims) = token.split_once('.').unwrap();
            let header = base64(serde_json::to_vec(&gate.key.header()).unwrap());
            gate.refuses(
                &format!("{header}.{claims}"),
                "the token's signature is wrong",
            );
        }
    }
}

#[test]
fn a_token_that_was_changed_is_refused() {
    let gate = Gate::new();
    let token = gate.key.token_for("alice");
    // It is known as good from here on.
    gate.lets_through(&token);
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("a token has three parts");
    };
    let boss = base64(with(json!({"sub": "boss"})).to_string());
    let other = Key::new("one").token_for("alice");
    let other = other.rsplit_once('.').unwrap().1;
    let half = &signature[..signature.len() / 2];
    for changed in [
        format!("{header}.{boss}.{signature}"),
        format!("{header}.{claims}.{other}"),
        format!("{header}.{claims}.{half}"),
        format!("{header}.{claims}.AAAA"),
        format!("{header}.{claims}."),
        format!("{header}.{claims}.{signature}AA"),
        format!("{header}.{claims}.{signature}=="),
        format!("{header}.{claims}A.{signature}"),
    ] {
        gate.refuses(&changed, "the token's signature is wrong");
    }
    for unreadable in [
        "a".to_owned(),
        "...".to_owned(),
        "..".to_owned(),
        format!("{header}.{claims}"),
        format!("{token}.{signature}"),
        format!(".{claims}.{signature}"),
        format!("{header}=.{claims}.{signature}"),
        base64("{\"alg\":\"EdDSA\"}") + &base64("{}"),
        format!("{}.{claims}.{signature}", base64("not JSON")),
        format!("{}.{claims}.{signature}", base64("[".repeat(5000))),
        format!(
            "{}.{claims}.{signature}",
            base64("{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\",\"kid\":\"one\"}")
        ),
        format!("{}.{claims}.{signature}", base64([0xff, 0xfe])),
    ] {
        gate.refuses(&unreadable, "the token cannot be read, or is not signed");
    }
    let header = serde_json::to_string(&gate.key.header()).unwrap();
    for claims in ["", "null", "[]", "7", &"[".repeat(5000), "{\"sub\":", "{}x"] {
        let token = gate.key.sign(&header, claims);
        gate.refuses(&token, "the token's claims cannot be read");
    }
    gate.lets_through(&token);
}

#[test]
fn a_token_does_not_bring_its_own_key() {
    let gate = Gate::new();
    // It would have been asked for the key.
    let elsewhere = KeyServer::of(&gate.key);
    let own = Key::new("one");
    let public: Jwk = serde_json::from_value(own.public()).unwrap();
    for (kid, why) in [
        ("one", "the token's signature is wrong"),
        ("two", "the issuer has no such key"),
        ("", "the issuer has no such key"),
        ("../../etc/passwd", "the issuer has no such key"),
        ("one\0", "the issuer has no such key"),
        (&"x".repeat(4000), "the issuer has no such key"),
    ] {
        let header = Header {
            kid: Some(kid.to_owned()),
            jwk: (kid.len() < 1000).then(|| public.clone()),
            jku: Some(elsewhere.url.clone()),
            x5u: Some(elsewhere.url.clone()),
            ..own.header()
        };
        let token = encode(&header, &with(json!({"sub": "boss"})), &own.private).unwrap();
        gate.refuses(&token, why);
    }
    let header = Header {
        kid: None,
        ..own.header()
    };
    let token = encode(&header, &with(json!({"sub": "boss"})), &own.private).unwrap();
    gate.refuses(&token, "the token does not name its key");
    assert_eq!((gate.keys.asked(), elsewhere.asked()), (1, 0));
}

#[test]
fn no_token_is_in_the_log() {
    let gate = Gate::new();
    let tokens = [
        gate.key.token_for("alice"),
        gate.key.token(&with(json!({"exp": 0}))),
        gate.key.token(&with(json!({"scope": ""}))),
        gate.key.token_for("boss,alice"),
        Key::new("two").token_for("alice"),
        "secret".to_owned(),
    ];
    for token in &tokens {
        status(&gate.sidecar, token);
    }
    let (_, printed) = gate.sidecar.program.end();
    // The keys, and why five of six were refused.
    assert_eq!(printed.len(), 6, "{printed:#?}");
    for line in printed {
        let mut parts = tokens.iter().flat_map(|token| token.split('.'));
        assert!(!parts.any(|part| line.contains(part)), "{line}");
        assert!(!line.contains("boss"), "{line}");
    }
}

#[test]
fn what_must_be_understood_and_is_not_is_refused() {
    let gate = Gate::new();
    let header = Header {
        crit: Some(vec!["b64".to_owned()]),
        ..gate.key.header()
    };
    let token = encode(&header, &with(json!({})), &gate.key.private).unwrap();
    gate.refuses(&token, "the token has critical extensions");
}

#[test]
fn long_tokens() {
    let gate = Gate::new();
    let long = |length: usize| gate.key.token(&with(json!({"x": "a".repeat(length)})));
    gate.lets_through(&long(5000));
    gate.refuses(&long(8192), "the token is longer than 8192 bytes");
    gate.refuses(&long(40_000), "the token is longer than 8192 bytes");
}

#[test]
fn a_token_is_good_for_what_its_scope_says() {
    let gate = Gate::new();
    let of = |scope: &str| gate.key.token(&with(json!({"scope": scope})));
    let cases = [
        ("GET", "/orders", of("orders:read"), Ok::<(), &str>(())),
        ("GET", "/orders?of=tea", of("orders:read"), Ok(())),
        ("GET", "http://other/orders", of("orders:read"), Ok(())),
        ("POST", "/orders", of("orders:write"), Ok(())),
        ("POST", "/orders", of("orders:read"), Err("orders:write")),
        ("GET", "/orders", of(""), Err("orders:read")),
        ("GET", "/ready", of("orders:read orders:write"), Err("")),
        ("GET", "/orders/", of("orders:read orders:write"), Err("")),
    ];
    for (method, path, token, allowed) in cases {
        let before = gate.app.asked();
        let token = bearing(&token);
        let (head, _) = gate
            .sidecar
            .send(format!(
                "{method} {path} HTTP/1.1\r\nHost: a\r\n{token}\r\n"
            ))
            .message();
        let challenge = head.get("www-authenticate");
        match allowed {
            Ok(()) => assert_eq!(head.status(), "200 OK", "{method} {path}"),
            // No token would do, so none is asked for.
            Err("") => {
                assert_eq!(head.status(), "403 Forbidden", "{method} {path}");
                assert_eq!(challenge, None);
            }
            Err(scope) => {
                assert_eq!(head.status(), "403 Forbidden", "{method} {path}");
                let expected = format!(
                    "Bearer realm=\"orders\", error=\"insufficient_scope\", scope=\"{scope}\""
                );
                assert_eq!(challenge, Some(&*expected));
            }
        }
        assert_eq!(gate.app.asked() - before, usize::from(allowed.is_ok()));
    }
    let token = gate.key.token(&with(json!({"scope": null})));
    assert_eq!(status(&gate.sidecar, &token), "403 Forbidden");
}

#[test]
fn one_algorithm_and_no_other() {
    let key = |kid, algorithm, private| Key {
        kid,
        private,
        algorithm,
    };
    let keys = [
        Key::new("ed"),
        key(
            "ec",
            Algorithm::ES256,
            EncodingKey::from_ec_der(include_bytes!("../keys/es256.der")),
        ),
        key(
            "rsa",
            Algorithm::RS256,
            EncodingKey::from_rsa_der(include_bytes!("../keys/rs256.der")),
        ),
    ];
    // A set may hold keys of all kinds.
    let server = KeyServer::answering(&ok(&key_set(&keys.each_ref().map(Key::public))));
    let app = App::new();
    for algorithm in ["EdDSA", "ES256", "RS256"] {
        let settings = [("ALGORITHM", algorithm), ("PAUSE", "1h")];
        let sidecar = sidecar(&server.url, &app.url, &settings);
        assert_eq!(sidecar.program.line(), "keys of the issuer: 1");
        for key in &keys {
            let (head, body) = ask(&mut sidecar.connect(), &key.token_for("alice"));
            if format!("{:?}", key.algorithm) == algorithm {
                assert_eq!(head.status(), "200 OK", "{algorithm}: {body}");
            } else {
                assert_eq!(head.status(), "401 Unauthorized");
                assert_eq!(body, format!("the token is not signed with {algorithm}\n"));
            }
        }
    }
}

#[test]
fn keys_that_are_not_for_this_are_not_taken() {
    let good = Key::new("good");
    let rsa = |kid, der: &[u8]| Key {
        kid,
        private: EncodingKey::from_rsa_der(der),
        algorithm: Algorithm::RS256,
    };
    let change = |key: &Key, changes: Value| {
        let mut jwk = key.public();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    let other = Key::new("other");
    for jwk in [
        change(&other, json!({"use": "enc"})),
        change(&other, json!({"alg": "HS256"})),
        change(&other, json!({"alg": "ES256"})),
        change(&other, json!({"alg": "RSA-OAEP"})),
        change(&other, json!({"crv": "X25519"})),
        change(&other, json!({"crv": "P-256"})),
        change(&other, json!({"x": ""})),
        change(&other, json!({"x": base64([1; 31])})),
        change(&other, json!({"x": base64([1; 33])})),
        change(&other, json!({"x": "!".repeat(43)})),
        change(&other, json!({"kid": null})),
        json!({"kty": "oct", "kid": "other", "k": base64("password")}),
        json!({"kty": "unheard-of", "kid": "other"}),
    ] {
        let keys = KeyServer::answering(&ok(&key_set(&[jwk.clone(), good.public()])));
        let app = App::new();
        let sidecar = sidecar(&keys.url, &app.url, &[("PAUSE", "1h")]);
        assert_eq!(sidecar.program.line(), "keys of the issuer: 1", "{jwk}");
        assert_eq!(
            status(&sidecar, &other.token_for("boss")),
            "401 Unauthorized",
            "{jwk}"
        );
        assert_eq!(
            status(&sidecar, &good.token_for("alice")),
            "200 OK",
            "{jwk}"
        );
    }
    // A point that is on no curve is found out by who verifies with it.
    let keys = KeyServer::answering(&ok(&key_set(&[
        change(&other, json!({"x": base64([0xff; 32])})),
        good.public(),
    ])));
    let app = App::new();
    let before = sidecar(&keys.url, &app.url, &[("PAUSE", "1h")]);
    assert_eq!(
        status(&before, &other.token_for("boss")),
        "401 Unauthorized"
    );
    assert_eq!(status(&before, &good.token_for("alice")), "200 OK");

    // A key that can be factored at home.
    let short = rsa("short", include_bytes!("../keys/rs256-1024.der"));
    let long = rsa("long", include_bytes!("../keys/rs256.der"));
    let keys = KeyServer::answering(&ok(&key_set(&[short.public(), long.public()])));
    let sidecar = sidecar(
        &keys.url,
        &app.url,
        &[("PAUSE", "1h"), ("ALGORITHM", "RS256")],
    );
    assert_eq!(
        status(&sidecar, &short.token_for("boss")),
        "401 Unauthorized"
    );
    assert_eq!(status(&sidecar, &long.token_for("alice")), "200 OK");
}
