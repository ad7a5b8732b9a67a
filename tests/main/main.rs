//! The workstation's integration tests, in one binary so that everything is linked once.

mod docs;
mod kubectl;
mod layers;
mod pty;
mod tui;
