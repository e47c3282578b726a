//! Runs the chapters of the workbook: makes their images, runs their Pod manifests on an engine,
//! records what the containers print, and compares that with snapshots.

pub mod byte_string;
pub mod diagnosis;
pub mod engine;
pub mod exercise;
mod http;
pub mod image;
pub mod kubelet;
pub mod manifest;
pub mod measured;
pub mod names;
pub mod recording;
pub mod run;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod scenario;
pub mod session;
pub mod snapshot;
pub mod workspace;
