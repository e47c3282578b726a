//! stub
#![allow(missing_docs)]
#[path = "manifest/pod.rs"]
pub mod pod;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
#[derive(Clone, Debug)]
pub struct Object { pub value: serde_json::Value }
#[derive(Clone, Debug)]
pub struct Manifest {
    pub objects: Vec<Object>,
    pub text: String,
    pub pods: Vec<pod::Pod>,
    pub config_maps: Vec<pod::ConfigMap>,
    pub secrets: Vec<pod::Secret>,
}
#[derive(Clone, Copy, Debug, serde::Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    Privileged,
    Baseline,
    Restricted,
}
fn conv(y: &Yaml<'_>) -> serde_json::Value {
    use serde_json::Value as V;
    match y {
        Yaml::Value(Scalar::String(s)) => V::String(s.to_string()),
        Yaml::Value(Scalar::Integer(i)) => V::from(*i),
        Yaml::Value(Scalar::Boolean(b)) => V::Bool(*b),
        Yaml::Value(Scalar::FloatingPoint(f)) => V::from(f.into_inner()),
        Yaml::Sequence(s) => V::Array(s.iter().map(conv).collect()),
        Yaml::Mapping(m) => V::Object(
            m.iter()
                .map(|(k, v)| (k.as_str().unwrap_or_default().to_owned(), conv(v)))
                .collect(),
        ),
        _ => V::Null,
    }
}
impl Manifest {
    pub fn parse(_n: &str, t: &str) -> anyhow::Result<Self> {
        let mut m = Self {
            text: t.to_owned(), objects: vec![],
            pods: vec![],
            config_maps: vec![],
            secrets: vec![],
        };
        for d in Yaml::load_from_str(t)? {
            let v = conv(&d); m.objects.push(Object { value: v.clone() });
            match v["kind"].as_str() {
                Some("Pod") => m.pods.push(serde_json::from_value(v)?),
                Some("ConfigMap") => m.config_maps.push(serde_json::from_value(v)?),
                Some("Secret") => m.secrets.push(serde_json::from_value(v)?),
                _ => {}
            }
        }
        Ok(m)
    }
    pub fn check(&self, _e: crate::engine::EngineKind, _l: PodSecurity) -> anyhow::Result<()> {
        Ok(())
    }
}
