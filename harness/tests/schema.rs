//! The table of fields holds exactly the fields that Kubernetes has.

use std::collections::{BTreeMap, BTreeSet};

use harness::manifest::fields;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use schemars::SchemaGenerator;
use serde_json::Value;

#[test]
fn the_table_is_complete() {
    let mut generator = SchemaGenerator::default();
    generator.subschema_for::<Pod>();
    generator.subschema_for::<ConfigMap>();
    generator.subschema_for::<Secret>();
    let mut schema: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, definition) in generator.definitions() {
        let short = name.rsplit('.').next().unwrap_or(name);
        let properties = definition.get("properties").and_then(Value::as_object);
        schema.entry(short).or_default().extend(
            properties
                .into_iter()
                .flat_map(|map| map.keys().map(String::as_str)),
        );
    }
    for (of, fields) in fields::table() {
        // An init container is a container of which engines support another set of fields, and
        // a list of resources is a map whose names the table has.
        let of = match *of {
            "InitContainer" => "Container",
            "ResourceList" => continue,
            of => of,
        };
        let ours: BTreeSet<_> = fields.iter().map(|field| field.name).collect();
        assert_eq!(Some(&ours), schema.get(of), "the fields of {of}");
    }
    // Every type that a Pod leads to is in the table; what is only read is left out.
    for (of, fields) in &schema {
        let read_only = ["Status", "State", "ContainerStateRunning"]
            .iter()
            .any(|part| of.contains(part));
        let leaf = fields.is_empty();
        assert!(
            leaf || read_only || fields::table().contains_key(of) || is_of_status(of),
            "{of} is not in the table"
        );
    }
}

/// Types that only a pod's status leads to.
fn is_of_status(of: &str) -> bool {
    [
        "HostIP",
        "PodIP",
        "PodCondition",
        "ContainerUser",
        "LinuxContainerUser",
        "ResourceStatus",
        "ResourceHealth",
        "PodExtendedResourceClaimStatus",
        "ContainerExtendedResourceRequest",
        "NodeAllocatableMappedResources",
    ]
    .contains(&of)
}
