//! A pod that is left running, as whoever looks at it from outside sees it.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::typed::type_again;

#[tokio::test]
async fn the_commands_of_the_book_work_by_hand() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let build = || harness::image::build_tool(root, "xtask", "xtask-docker", "docker", &mut |_| {});
    let program = tokio::task::spawn_blocking(build).await.unwrap().unwrap();
    let mut pod = Command::new(program)
        // A terminal gets the lines without `--follow`.
        .args(["chapter", "2", "--engine", "docker", "--keep", "--follow"])
        .current_dir(root)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(pod.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    while !told
        .last()
        .is_some_and(|line: &String| line.ends_with("| Hello"))
    {
        let line = lines.next_line().await.unwrap();
        told.push(line.unwrap_or_else(|| panic!("the sidecar prints no Hello:\n{told:#?}")));
    }
    let rest = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

    // Whatever comes of it, the pod is ended in order.
    let typed = tokio::spawn(type_again("docker.console", &[])).await;

    let id = pod.id().unwrap().to_string();
    let asked = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(asked.unwrap().success());
    rest.await.unwrap();
    assert_eq!(pod.wait().await.unwrap().code(), Some(0));
    typed.unwrap();
}
