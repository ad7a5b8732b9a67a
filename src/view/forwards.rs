//! Forwards.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Look, View};
use crate::keys::Scope;


/// Forwards.
#[derive(Debug)]
pub struct Forwards {  }

impl Forwards {
    /// Makes one.
    pub fn new() -> Self { Self {  } }
}

impl View for Forwards {
    fn title(&self) -> String { String::new() }
    fn crumbs(&self) -> Vec<String> { Vec::new() }
    fn scopes(&self) -> Vec<Scope> { vec!["forwards"] }
    fn draw(&self, _area: Rect, _buf: &mut Buffer, _look: &Look<'_>) {}
}
