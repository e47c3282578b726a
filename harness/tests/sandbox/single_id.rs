//! What is refused where a single user id stands for all.

use harness::engine::{Engine, NotHere};

use crate::machine::sandbox;
use crate::pods::kit::{apply, run};

/// To the kernel, all users of such a pod are one. What that would show wrongly is refused.
#[tokio::test]
async fn with_a_single_id_what_depends_on_owners_is_refused() {
    let sandbox = sandbox().await;
    let notes = sandbox.notes().join("\n");
    if !sandbox.ids().is_single() {
        assert!(!notes.contains("user id"), "{notes}");
        eprintln!("left out, since this user has many ids: what a single id refuses");
        return;
    }
    assert!(notes.contains("one user id stands for all"), "{notes}");
    for (spec, what) in [
        (
            "securityContext: {fsGroup: 1}\ncontainers: [{name: app, ACTOR}]",
            "spec.securityContext.fsGroup: 1",
        ),
        (
            "securityContext: {supplementalGroups: [1]}\ncontainers: [{name: app, ACTOR}]",
            "spec.securityContext.supplementalGroups",
        ),
        (
            "volumes: [{name: data, emptyDir: {}}]
initContainers: [{name: own, ACTOR, securityContext: {runAsUser: 0}, volumeMounts: [{name: data, mountPath: /data}]}]
containers: [{name: app, ACTOR, volumeMounts: [{name: data, mountPath: /data}]}]",
            "volume data is shared by own and app, which run as different users",
        ),
        (
            "volumes: [{name: keys, secret: {secretName: keys, defaultMode: 0400}}]
containers: [{name: app, ACTOR, volumeMounts: [{name: keys, mountPath: /keys}]}]",
            "volume keys has files that only root may read, and app runs as user 65532",
        ),
    ] {
        let error = refused(spec).await;
        // So that of many scenarios the others run.
        assert!(error.is::<NotHere>(), "{error:#}");
        let refusal = format!("{error:#}");
        let way_out = "sudo usermod --add-subuids 100000-165535";
        assert!(refusal.contains(what) && refusal.contains(way_out), "{refusal}");
    }
    // Users that share nothing can differ, and the image's user can be named or not.
    let story = run("restartPolicy: Never
volumes: [{name: data, emptyDir: {}}]
containers:
- {name: root, ACTOR, args: [say, here], securityContext: {runAsUser: 0}}
- {name: app, ACTOR, args: [say, here], volumeMounts: [{name: data, mountPath: /data}]}
- {name: same, ACTOR, args: [say, here], securityContext: {runAsUser: 65532}, volumeMounts: [{name: data, mountPath: /data}]}")
    .await;
    assert!(story.has("pod succeeded"), "{story}");
}

/// Why the engine does not run a pod.
async fn refused(spec: &str) -> anyhow::Error {
    match apply(spec).await {
        Ok(_) => panic!("this was not refused:\n{spec}"),
        Err(error) => error,
    }
}
