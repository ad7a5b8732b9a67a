//! Knarr: a keyboard-driven Kubernetes workstation in the terminal.
//!
//! Data flows one way: feeds and sessions (tasks) send events, [`app`] turns an event into a new [`state`] and effects, views draw the state.
//!
//! # The import rule
//!
//! A module imports only from modules left of it:
//!
//! `text, error < config < theme < document < keys < cluster < store < session < kind < widget < view < state < action < app < main`
//!
//! ratatui is known to theme, widget, view and app alone; `kube::Client` to cluster, store and session alone; the mini-cluster to
//! `cluster/source.rs` alone. A test reads the `use` lines and enforces it.

pub mod action;
pub mod app;
pub mod cluster;
pub mod config;
pub mod document;
pub mod error;
pub mod keys;
pub mod kind;
pub mod session;
pub mod state;
pub mod store;
pub mod text;
pub mod theme;
pub mod view;
pub mod widget;
