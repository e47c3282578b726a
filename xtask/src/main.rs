//! `cargo xtask`, as it is compiled for a reader's first command.

fn main() -> std::process::ExitCode {
    xtask::main()
}
