//! `cargo xtask` with the engine `docker` in it.

fn main() -> std::process::ExitCode {
    xtask::main()
}
