//! The table of fields holds exactly the fields that Kubernetes has.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use harness::manifest::fields;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use schemars::SchemaGenerator;
use serde_json::Value;

/// That every type which a field names is in the table too is a test of the table's own.
#[test]
fn the_table_is_complete() {
    let mut generator = SchemaGenerator::default();
    generator.subschema_for::<Pod>();
    generator.subschema_for::<ConfigMap>();
    generator.subschema_for::<Secret>();
    generator.subschema_for::<Job>();
    generator.subschema_for::<Service>();
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
}
