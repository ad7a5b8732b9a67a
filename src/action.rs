//! The one registry of commands. Keys, the `:` prompt, the palette, the mouse and dialogs all run actions by name.
//!
//! Adding one: a `const` beside its function in a file of this folder, and its name in [`actions!`].

mod change;
mod complete;
mod done;
mod manifest;
mod nav;
mod object;
mod open;
mod place;
mod pod;
mod program;

pub use complete::candidates;
pub use done::answered;

use crate::error::{Error, Result};
use crate::keys::{Keymap, Line};
use crate::state::Cx;

/// One command.
pub struct Action {
    /// `noun.verb`.
    pub name: &'static str,
    /// What it does, one sentence without a full stop.
    pub doc: &'static str,
    /// Its arguments, as the help shows them.
    pub args: &'static str,
    /// Whether it may change the cluster: read-only mode refuses it.
    pub changes: bool,
    /// Does it.
    pub run: fn(&mut Cx<'_>, &Line) -> Result<()>,
}

impl Action {
    /// An action that changes nothing in the cluster.
    const fn new(
        name: &'static str,
        args: &'static str,
        doc: &'static str,
        run: fn(&mut Cx<'_>, &Line) -> Result<()>,
    ) -> Self {
        Self {
            name,
            doc,
            args,
            changes: false,
            run,
        }
    }

    /// The same action, refused in read-only mode.
    const fn changes(self) -> Self {
        Self { changes: true, ..self }
    }

    /// A command of the focused view.
    const fn of_view(name: &'static str, args: &'static str, doc: &'static str) -> Self {
        Self::new(name, args, doc, nav::view_command)
    }
}

macro_rules! actions {
    ($($module:ident: $($name:ident)*;)*) => {
        /// Every action, in the order of the help.
        pub static ACTIONS: &[&Action] = &[$($(&$module::$name,)*)*];
    };
}

actions! {
    nav: DOWN UP PAGE_DOWN PAGE_UP HALF_DOWN HALF_UP FIRST LAST LEFT RIGHT ENTER BACK CLOSE
        MARK MARK_ALL MARK_CLEAR FILTER FILTER_SET FILTER_KEEP SEARCH SEARCH_SET SEARCH_NEXT SEARCH_PREVIOUS
        SORT WIDE FAULTS LABEL_COLUMN PREVIEW WRAP COPY_TEXT REVEAL
        LOG_FOLLOW LOG_TIMESTAMPS LOG_WRAP LOG_CLEAR LOG_SAVE LOG_PREVIOUS LOG_CONTAINER FORWARD_STOP FORWARD_BROWSE
        TAB_NEXT TAB_PREVIOUS TAB_LAST TAB_GO TAB_CLOSE;
    open: OPEN COMMAND COMMAND_RUN PALETTE HELP MESSAGES LABELS FORWARDS;
    place: NAMESPACES NAMESPACE_SET NAMESPACE_ALL NAMESPACE_CREATE CONTEXTS CONTEXT_SET;
    object: DESCRIBE YAML EDIT DELETE LABEL ANNOTATE SCALE COPY_NAME;
    pod: LOGS LOGS_REOPEN SHELL ATTACH FORWARD RUN;
    change: UNDO REDO CANCEL NOTICE JOURNAL;
    manifest: APPLY;
    program: EMBEDDED RETRY THEME KEYMAP CLIPBOARD FILE_SAVE URL_OPEN SESSION_CLOSE SESSION_SHOW QUIT INTERRUPT;
}

/// The action of that name.
pub fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name).copied()
}

/// Runs a line, and what it leads to; a loop of lines is cut.
pub fn run(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let action = find(&line.name).ok_or_else(|| unknown(&line.name))?;
    if action.changes {
        cx.may_change()?;
    }
    (action.run)(cx, line)
}

/// How alike two names are, from 0 to 1.
fn likeness(one: &str, other: &str) -> f32 {
    similar::TextDiff::from_chars(one, other).ratio()
}

fn unknown(name: &str) -> Error {
    let nearest = ACTIONS
        .iter()
        .map(|action| (likeness(name, action.name), action.name))
        // What is not like it at all is no help.
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    let error = Error::usage(format!("there is no command or kind {name:?}"));
    match nearest {
        Some((_, nearest)) => error.hint(format!("did you mean {nearest}?")),
        None => error.hint("`:` and Tab list what there is"),
    }
}

/// Lines in a keymap that name no action: a broken keymap says so at start.
pub fn unknown_bindings(keymap: &Keymap) -> Vec<String> {
    let scopes: Vec<String> = keymap.scopes().map(str::to_owned).collect();
    scopes
        .iter()
        .flat_map(|scope| keymap.bindings(scope).into_iter().map(move |binding| (scope, binding)))
        .filter(|(_, binding)| find(&binding.line.name).is_none())
        .map(|(scope, binding)| {
            let keys: String = binding.chords.iter().map(ToString::to_string).collect();
            format!("[{scope}] {keys} = {:?}", binding.line.name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_documented() {
        let mut names: Vec<_> = ACTIONS.iter().map(|action| action.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for action in ACTIONS {
            assert!(!action.doc.is_empty() && !action.doc.ends_with('.'), "{}", action.name);
            assert!(action.name.contains('.'), "{}", action.name);
        }
    }

    #[test]
    fn every_shipped_key_runs_an_action() {
        for name in Keymap::built_in() {
            let keymap = Keymap::load(name, None).expect("parses");
            assert_eq!(unknown_bindings(&keymap), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn a_mistyped_command_gets_a_suggestion() {
        assert!(unknown("pod.log").hints[0].contains("pod.logs"));
        assert!(!unknown("crd").hints[0].contains("did you mean"));
    }
}
