//! `cargo xtask` with the book's builder in it.

fn main() -> std::process::ExitCode {
    xtask::main()
}
