//! Terminal.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Look, View};
use crate::keys::Scope;
use crate::session::SessionId;

/// Terminal.
#[derive(Debug)]
pub struct Terminal { id: SessionId, title: String }

impl Terminal {
    /// Makes one.
    pub fn new(id: SessionId, title: String) -> Self { Self { id, title } }
}

impl View for Terminal {
    fn title(&self) -> String { String::new() }
    fn crumbs(&self) -> Vec<String> { Vec::new() }
    fn scopes(&self) -> Vec<Scope> { vec!["terminal"] }
    fn draw(&self, _area: Rect, _buf: &mut Buffer, _look: &Look<'_>) {}
}
