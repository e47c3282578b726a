//! What a pod leaves behind: nothing, however it ends.

use std::fs;

use crate::pods::kit::pod;

/// The processes of this machine that have `mark` among their arguments.
fn processes_with(mark: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let arguments =
        entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    arguments
        .filter(|arguments| arguments.split('\0').any(|word| word == mark))
        .count()
}

#[tokio::test]
async fn a_pod_that_nobody_holds_any_more_ends() {
    let mark = format!("mark-of-{}", std::process::id());
    let mut pod = pod(&format!(
        "containers: [{{name: app, ACTOR, args: [say, {mark}, then, stay]}}]"
    ))
    .await;
    pod.until(&format!("app | {mark}")).await;
    assert_eq!(processes_with(&mark), 1);
    drop(pod);
    // The kernel ends it in its own time; nothing tells when.
    let gone = async {
        while processes_with(&mark) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .expect("its processes end");
}
