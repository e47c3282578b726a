//! How scenarios, snapshots and reports name a container: as `container`, or as `pod/container`
//! where several pods have one of that name.

use crate::manifest::pod::Pod;

/// Whether `name` names a container of a pod.
#[must_use]
pub fn is_of(name: &str, pod: &str, container: &str) -> bool {
    match name.split_once('/') {
        Some(parts) => parts == (pod, container),
        None => name == container,
    }
}

/// The name of a container of one of these pods: short where that is enough.
#[must_use]
pub fn of<'p>(pods: impl IntoIterator<Item = &'p Pod>, pod: &str, container: &str) -> String {
    let has = |of: &&Pod| of.metadata.name != pod && has(of, container);
    match pods.into_iter().find(has) {
        Some(_) => format!("{pod}/{container}"),
        None => container.to_owned(),
    }
}

/// Why a name stands for no container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// There is none of it; these are there.
    Unknown(String),
    /// Several pods have one; these are their names in full.
    Ambiguous(String),
}

/// The pod with the container that `name` names.
pub(crate) fn find<'p>(pods: &[&'p Pod], name: &str) -> Result<&'p Pod, Unclear> {
    let (pod, container) = match name.split_once('/') {
        Some((pod, container)) => (Some(pod), container),
        None => (None, name),
    };
    let meant = |of: &&&Pod| pod.is_none_or(|pod| of.metadata.name == pod) && has(of, container);
    let found: Vec<_> = pods.iter().filter(meant).collect();
    match found.as_slice() {
        [found] => Ok(found),
        [] => {
            let all = pods.iter().flat_map(|pod| {
                let containers = pod.spec.all_containers();
                containers.map(|(_, one)| of(pods.iter().copied(), &pod.metadata.name, &one.name))
            });
            Err(Unclear::Unknown(Vec::from_iter(all).join(", ")))
        }
        several => {
            let all = several
                .iter()
                .map(|pod| format!("{}/{name}", pod.metadata.name));
            Err(Unclear::Ambiguous(Vec::from_iter(all).join(", ")))
        }
    }
}

fn has(pod: &Pod, container: &str) -> bool {
    let mut containers = pod.spec.all_containers();
    containers.any(|(_, of)| of.name == container)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn a_container_is_known_by_its_pod_where_another_has_its_name() {
        let pod = |name: &str, more: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: app, image: a}}{more}]}}\n---\n"
            )
        };
        let text = pod("a", "") + &pod("b", ", {name: sidecar, image: a}");
        let manifest = Manifest::parse("two.yaml", &text).unwrap_or_else(|error| panic!("{error}"));
        let pods = Vec::from_iter(&manifest.pods);
        let name = |pod, container| of(pods.iter().copied(), pod, container);
        assert_eq!(name("a", "app"), "a/app");
        assert_eq!(name("b", "sidecar"), "sidecar");
        assert!(is_of("app", "b", "app") && is_of("b/app", "b", "app"));
        assert!(!is_of("a/app", "b", "app") && !is_of("b/sidecar", "b", "app"));

        let found = |name| find(&pods, name).map(|pod| pod.metadata.name.as_str());
        assert_eq!(found("b/app"), Ok("b"));
        assert_eq!(found("sidecar"), Ok("b"));
        let unclear = |name| find(&pods, name).map(drop).expect_err(name);
        assert_eq!(
            unclear("app"),
            Unclear::Ambiguous("a/app, b/app".to_owned())
        );
        for name in ["a/sidecar", "none", "c/app"] {
            let there = "a/app, b/app, sidecar".to_owned();
            assert_eq!(unclear(name), Unclear::Unknown(there), "{name}");
        }
    }
}
