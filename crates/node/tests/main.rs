//! The kubelet against the real API server, in memory, with simulated containers, in virtual time.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "main/world.rs"]
mod world;

#[path = "main/hostile.rs"]
mod hostile;
#[path = "main/node.rs"]
mod node;
#[path = "main/pod.rs"]
mod pod;
#[path = "main/stream.rs"]
mod stream;
#[path = "main/trouble.rs"]
mod trouble;
#[path = "main/volume.rs"]
mod volume;
