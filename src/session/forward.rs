//! Local ports forwarded into pods.
