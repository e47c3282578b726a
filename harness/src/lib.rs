//! Runs the chapters of the workbook: makes their images, runs their Pod manifests on an engine,
//! records what the containers print, and compares that with snapshots.

pub mod byte_string;
pub mod engine;
mod http;
#[path = "image_stub.rs"]
pub mod image;
pub mod kubelet;
pub mod manifest;
#[cfg(target_os = "linux")]
pub mod sandbox;
