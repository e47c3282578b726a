//! What the harness's own tests run in a container: it prints its arguments, one a line.

fn main() {
    for argument in std::env::args().skip(1) {
        println!("{argument}");
    }
}
