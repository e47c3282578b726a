// Prints what a web server would have been asked for.

use sidecar_kit::told_to_end;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for line in ["first", "second", "third", "before", "before", "after"] {
        println!("GET /{line} 200");
    }
    told_to_end().await;
}
