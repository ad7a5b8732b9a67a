//! One generated table of the Kubernetes types, and everything that it drives.
//!
//! A Kubernetes API server has to know, for every field of every type, more than its name: under which number it travels in
//! protobuf, whether a list is merged by a key or replaced whole, which of its items a server-side apply owns. This crate
//! holds these facts in one table (`types.txt`, written by `generate.py`) and everything else is a walk over a
//! [`serde_json::Value`] with the table in hand:
//!
//! * [`proto`]: objects in protobuf, as typed Go clients send them since client-go 1.32, and read them if told to
//! * [`strict`]: duplicate and unknown fields, types that do not fit, pruning
//! * [`patch`]: JSON merge patch, strategic merge patch, JSON patch
//! * [`managed`]: who owns which field: server-side apply and the tracking of plain updates
//! * [`openapi`]: the OpenAPI v3 and v2 documents

pub mod field;
pub mod managed;
pub mod openapi;
pub mod patch;
pub mod proto;
mod shape;
pub mod strict;
pub mod structural;
mod table;

pub use shape::Shape;
pub use table::{Schema, lookup};
