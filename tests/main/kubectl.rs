//! Real kubectl against `knarr cluster start`: what everybody's fingers do.
//!
//! kubectl is the one that the variable `KUBECTL` names, else the one on `PATH`. Without any the tests say so and pass, except in CI.

mod batch;
mod clients;
mod cluster;
mod container;
mod crd;
mod durable;
mod hostile;
mod identity;
mod image;
mod network;
mod nodes;
mod object;
mod old;
mod policy;
mod sets;
mod storage;
mod why;
mod workload;

pub(crate) use cluster::{Cluster, kubectl};
