//! Settings that cannot be understood.

use sidecar_testing::{Program, Signal};

fn ends_with(program: &str, name: &str, value: &str, line: &str) {
    let program = Program::start(program, &[("LISTEN", "127.0.0.1:0"), (name, value)]);
    assert_eq!(program.line(), line);
    assert_eq!(program.ended().0.code(), Some(2));
}

#[test]
fn the_sidecar_names_what_it_cannot_understand() {
    const PROGRAM: &str = env!("CARGO_BIN_EXE_sidecar-auth");
    for (name, value, line) in [
        (
            "ALGORITHM",
            "HS256",
            "ALGORITHM=\"HS256\" cannot be understood (it is no algorithm with a public key that \
             is known here); EdDSA, ES256 or RS256 would do",
        ),
        (
            "ALGORITHM",
            "none",
            "ALGORITHM=\"none\" cannot be understood (it is no algorithm with a public key that \
             is known here); EdDSA, ES256 or RS256 would do",
        ),
        (
            "LEEWAY",
            "1h",
            "LEEWAY=\"1h\" cannot be understood (it is longer than 5m, by which tokens would \
             outlive their end); 30s would do",
        ),
        (
            "AUDIENCE",
            "",
            "AUDIENCE=\"\" cannot be understood (it is empty); https://issuer.example or orders \
             would do",
        ),
        (
            "SCOPES",
            "GET orders",
            "SCOPES=\"GET orders\" cannot be understood (\"GET orders\" is not a method, a path \
             and a scope); \"GET /orders orders:read\", a line for each method and path, would do",
        ),
        (
            "JWKS_URL",
            "https://issuer.example/jwks",
            "JWKS_URL=\"https://issuer.example/jwks\" cannot be understood (this program speaks \
             http, not https); http://127.0.0.1:9000 would do",
        ),
    ] {
        ends_with(PROGRAM, name, value, line);
    }
}

#[test]
fn the_client_names_what_it_cannot_understand() {
    const PROGRAM: &str = env!("CARGO_BIN_EXE_auth-client");
    let program = Program::start(PROGRAM, &[("TRY", "everything")]);
    assert_eq!(
        program.line(),
        "trouble: everything: everything is nothing to try"
    );
    program.signal(Signal::TERM);
    assert_eq!(program.ended().0.code(), Some(0));
}
