//! Tells the compiler which answer to an exercise is compiled: the one that `ANSWER` names, and a
//! solution where nobody asks for one.

use std::env::var;
use std::fs;

fn main() {
    println!("cargo::rerun-if-env-changed=ANSWER");
    let answer = var("ANSWER").unwrap_or_else(|_| first_solution());
    println!("cargo::rustc-env=ANSWER={answer}");
}

fn first_solution() -> String {
    let package =
        var("CARGO_MANIFEST_DIR").expect("cargo tells a build script where its package is");
    let solutions = format!("{package}/../solutions");
    println!("cargo::rerun-if-changed={solutions}");
    let entries = fs::read_dir(&solutions).expect("an exercise has solutions");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let first = names.min().expect("an exercise has a solution");
    format!("{solutions}/{first}/main.rs")
}
