//! Widgets draw what they are given. They know text and roles, and nothing of Kubernetes.

mod canvas;
mod input;
mod pager;
mod popup;
mod table;

pub use canvas::{fill, put, put_line, put_piece, put_right, rule_down, scrollbar, scrolled_to};
pub use input::LineEdit;
pub use pager::{Pager, PagerState};
pub use popup::{Anchor, List, popup};
pub use table::{ColumnSpec, Cut, GUTTER, TableCell, TableRow, fit, natural_width, spans, table};
