//! What the engine leaves on its daemon, and what it proves of the images that it runs.

use std::process::Command;

use harness::engine::{Applied, Engine, RUN_LABEL};
use harness::manifest::PodSecurity;
use tokio::sync::Mutex;

use crate::machine::docker;
use crate::pods::kit::{images, manifest, pod};

const POD: &str = "volumes: [{name: data, emptyDir: {}}]
initContainers: [{name: sidecar, ACTOR, restartPolicy: Always, args: [wait]}]
containers: [{name: app, ACTOR, args: [say, up, then, wait], volumeMounts: [{name: data, mountPath: /data}]}]";

/// What Docker's own client says.
fn ask(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(ToOwned::to_owned).collect()
}

/// The containers, volumes and networks of a run.
fn belongings(run: &str) -> Vec<String> {
    let label = format!("label={RUN_LABEL}={run}");
    let mut all = ask(&["ps", "--all", "--filter", &label, "--format", "{{.Names}}"]);
    for kind in ["volume", "network"] {
        let list = [kind, "ls", "--filter", &label, "--format", "{{.Name}}"];
        all.extend(ask(&list));
    }
    all
}

/// The id of the run whose pod has this host name, which its pause container has.
fn run_of(name: &str) -> String {
    let label = format!("label={RUN_LABEL}");
    let ids = ask(&["ps", "--quiet", "--filter", &label]);
    let format = format!("{{{{.Config.Hostname}}}} {{{{index .Config.Labels \"{RUN_LABEL}\"}}}}");
    // Containers of other tests may be gone by now: what is there is told, and the rest complained of.
    let output = Command::new("docker")
        .args(["inspect", "--format", &format])
        .args(ids)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let run = said
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    run.unwrap_or_else(|| panic!("no run has a pod of the host name {name}:\n{said}"))
        .to_owned()
}

/// One test must not sweep while another looks at what is there.
static SWEEPS: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn a_pod_leaves_nothing_and_a_living_one_is_left_alone() {
    let _alone = SWEEPS.lock().await;
    let mut pod = pod(&format!("hostname: living\n{POD}")).await;
    pod.until("app | up").await;
    let run = run_of("living");
    // The pause container, two containers and a volume, all with the run's id in their names.
    let there = belongings(&run);
    assert_eq!(there.len(), 4, "{there:?}");
    assert!(there.iter().all(|name| name.contains(&run)), "{there:?}");
    let image = ask(&[
        "inspect",
        "--format",
        "{{.Image}}",
        &format!("sidecar-workbook-{run}-app.0"),
    ]);
    let built = &images().await[0];
    assert!(
        image == [built.id.clone()] || image == [built.manifest_digest.clone()],
        "{image:?}"
    );
    let swept = docker().await.sweep().await.unwrap().join("\n");
    assert!(!swept.contains(&run), "{swept}");
    assert_eq!(belongings(&run), there);
    pod.stop().await;
    assert_eq!(belongings(&run), [""; 0]);
}

#[tokio::test]
async fn several_pods_leave_nothing_and_one_that_ends_takes_only_its_own_along() {
    let _alone = SWEEPS.lock().await;
    let other = "
apiVersion: v1
kind: Pod
metadata: {name: other}
spec:
  volumes: [{name: data, emptyDir: {}}]
  containers: [{name: app, image: 'sidecar-examples:actor', imagePullPolicy: Never, args: [say, other, then, wait], volumeMounts: [{name: data, mountPath: /data}]}]";
    let mut pod = pod(&format!("hostname: several\n{POD}\n---{other}")).await;
    pod.until("app | up").await;
    pod.until("app | other").await;
    let run = run_of("several");
    // Of each pod the pause container, its containers and a volume; and the network.
    let there = belongings(&run);
    assert_eq!(there.len(), 4 + 3 + 1, "{there:?}");
    let of = |pod: &str| {
        let begin = format!("sidecar-workbook-{run}-{pod}-");
        let mine = there.iter().filter(move |name| name.starts_with(&begin));
        mine.count()
    };
    assert_eq!((of("pod"), of("other")), (4, 3), "{there:?}");
    pod.pods.delete("other").await.unwrap();
    let left = belongings(&run);
    assert_eq!(left.len(), 4 + 1, "{left:?}");
    pod.stop().await;
    assert_eq!(belongings(&run), [""; 0]);
}

/// The connection to the daemon breaks when the harness is killed, and so does this one.
#[test]
fn a_run_that_was_killed_ends_by_itself_and_is_swept() {
    let _alone = SWEEPS.blocking_lock();
    let begin = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let run = begin.block_on(async {
        let (engine, images) = (docker().await, images().await);
        engine.load(&images).await.unwrap();
        let manifest = manifest(&format!("hostname: killed\n{POD}"));
        let applied = engine
            .apply(&manifest, PodSecurity::Privileged, &images)
            .await;
        let Applied { pods, mut events } = applied.unwrap();
        loop {
            let event = format!("{:?}", events.recv().await.unwrap());
            if event.contains("app") && event.contains("Started") {
                break;
            }
        }
        // Whoever is killed tidies nothing up.
        std::mem::forget((pods, events));
        run_of("killed")
    });
    begin.shutdown_background();
    // It waits for the end of the pause container.
    let label = format!("label={RUN_LABEL}={run}");
    let pause = format!("sidecar-workbook-{run}-pause");
    if ask(&["ps", "--filter", &label, "--format", "{{.Names}}"]).contains(&pause) {
        ask(&["wait", &pause]);
    }
    let after = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    after.block_on(async { docker().await.sweep().await.unwrap() });
    assert_eq!(belongings(&run), [""; 0]);
}
