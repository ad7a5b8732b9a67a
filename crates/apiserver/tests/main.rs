//! The API server as its clients see it: every test talks HTTP to a server of its own, in memory and in virtual time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod api {
    pub mod access;
    pub mod admission;
    pub mod aggregation;
    pub mod cluster;
    pub mod conversion;
    pub mod crd;
    pub mod deletion;
    pub mod discovery;
    pub mod durability;
    pub mod hostile;
    pub mod linearizable;
    pub mod lists;
    pub mod objects;
    pub mod patches;
    pub mod pods;
    pub mod policy;
    pub mod quota;
    pub mod watches;
    pub mod webhook;
    pub mod wire;
}
