//! From keys to command lines.
//!
//! A [`Chord`] is one key with its modifiers (`<C-d>`). A [`Keymap`] has one trie of chords per [`Scope`]; its leaves are
//! command lines for the action registry, its labelled inner nodes are what the which-key popup and the help show.

mod chord;
mod keymap;
mod line;

pub use chord::{Chord, parse_chords};
pub use keymap::{Binding, Found, Keymap, Node, Scope};
pub use line::{Line, split};
