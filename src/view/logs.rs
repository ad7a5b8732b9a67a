//! Logs.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Look, View};
use crate::keys::Scope;
use crate::session::{LogSpec, SessionId};

/// Logs.
#[derive(Debug)]
pub struct Logs { id: SessionId, spec: LogSpec }

impl Logs {
    /// Makes one.
    pub fn new(id: SessionId, spec: LogSpec) -> Self { Self { id, spec } }
}

impl View for Logs {
    fn title(&self) -> String { String::new() }
    fn crumbs(&self) -> Vec<String> { Vec::new() }
    fn scopes(&self) -> Vec<Scope> { vec!["logs"] }
    fn draw(&self, _area: Rect, _buf: &mut Buffer, _look: &Look<'_>) {}
}
