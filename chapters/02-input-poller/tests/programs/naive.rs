//! `input-sidecar-naive`: fails as the chapter says.

use sidecar_testing::{Program, ReservedAddress};

#[test]
fn dies_of_the_first_call_that_fails() {
    let reserved = ReservedAddress::new();
    let app = format!("http://{}", reserved.address);
    let sidecar = Program::start(
        env!("CARGO_BIN_EXE_input-sidecar-naive"),
        &[("UPSTREAM", &app)],
    );

    let (status, printed) = sidecar.ended();
    assert_eq!(status.code(), Some(101));
    assert!(
        printed
            .iter()
            .any(|line| line.starts_with("called `Result::unwrap()` on an `Err` value")),
        "{printed:#?}"
    );
}
