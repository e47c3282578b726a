//! What every engine does that has the kubelet of this harness: the same pods for each, whose
//! containers do what the test says. Nothing here measures time: a test waits for what it wants to
//! see.
//!
//! The crate that includes this says in its module `machine` which engine it is about.

pub(crate) mod containers;
pub(crate) mod endings;
pub(crate) mod identities;
pub(crate) mod jobs;
pub(crate) mod kit;
pub(crate) mod lifecycle;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod volumes;
