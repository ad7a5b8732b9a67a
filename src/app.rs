//! The event loop: await one event, drain the rest, update the state, perform the effects, draw.
//!
//! Everything that waits runs on worker threads and reports by one channel. The main thread never waits for anything but that
//! channel, the terminal and a timer; while nothing happens it sleeps.

mod connect;
mod desk;
mod draw;
mod event;
mod layout;
mod memory;
mod perform;
mod run;
mod screen;
mod survey;
#[cfg(test)]
mod tests;
mod update;
mod usage;

pub use event::Event;
pub use run::{App, Host, Settings};
pub use screen::{Screen, give_back, install_panic_hook, is_lent, lend};
