//! `cargo xtask` with the engine `kind` in it.

fn main() -> std::process::ExitCode {
    xtask::main()
}
