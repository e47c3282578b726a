//! Pod manifests.
pub mod pod;
