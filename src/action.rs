//! The one registry of commands. Keys, the `:` prompt, the palette, the mouse and dialogs all run actions by name.
//!
//! Adding one: a `const` beside its function in a file of this folder, and its name in [`commands!`].

mod argument;
mod change;
mod complete;
mod done;
mod explain;
mod job;
mod label;
mod manifest;
mod nav;
mod node;
mod object;
mod open;
mod outline;
mod pane;
mod place;
mod pod;
mod program;
mod rights;
mod rollout;
mod selector;
mod why;

pub use argument::{Argument, Place, Type, check, places, usage};
pub use complete::Completion;
pub use done::answered;
pub use label::{Task, label};

use crate::error::{Error, Result};
use crate::keys::{Keymap, Line, Scope};
use crate::state::Cx;
use crate::view::{ViewCommand, not_here};

/// One command.
pub struct Command {
    /// `noun.verb`.
    pub name: &'static str,
    /// Short forms that people type.
    pub aliases: &'static [&'static str],
    /// What it does, one sentence without a full stop.
    pub doc: &'static str,
    /// What it takes.
    pub arguments: &'static [Argument],
    /// The scopes in which it means something; none is everywhere.
    pub scopes: &'static [Scope],
    /// Whether it may change the cluster: read-only mode refuses it.
    pub changes: bool,
    /// Does it.
    pub run: Run,
}

/// Who does a command.
pub enum Run {
    /// The application.
    App(fn(&mut Cx<'_>, &Line) -> Result<()>),
    /// The focused view.
    View(fn(&Line) -> Result<ViewCommand>),
}

impl Command {
    /// A command that means something everywhere, and changes nothing in the cluster.
    const fn new(
        name: &'static str,
        arguments: &'static [Argument],
        doc: &'static str,
        run: fn(&mut Cx<'_>, &Line) -> Result<()>,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            doc,
            arguments,
            scopes: &[],
            changes: false,
            run: Run::App(run),
        }
    }

    /// A command of the views that have one of these scopes.
    const fn of_view(
        name: &'static str,
        arguments: &'static [Argument],
        doc: &'static str,
        scopes: &'static [Scope],
        run: fn(&Line) -> Result<ViewCommand>,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            doc,
            arguments,
            scopes,
            changes: false,
            run: Run::View(run),
        }
    }

    /// The same command, refused in read-only mode.
    const fn changes(mut self) -> Self {
        self.changes = true;
        self
    }

    /// The same command, which people also call so.
    const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The same command, which means something in these scopes only.
    const fn only(mut self, scopes: &'static [Scope]) -> Self {
        self.scopes = scopes;
        self
    }

    /// Whether it means something where these scopes hold.
    pub fn fits(&self, scopes: &[Scope]) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|scope| scopes.contains(scope))
    }

    /// Whether only views, dialogs and keys run it: people have another way to say the same.
    pub fn is_plumbing(&self) -> bool {
        const PLUMBING: &[&str] = &[
            "clipboard.set",
            "command.run",
            "file.save",
            "filter.keep",
            "filter.set",
            "logs.reopen",
            "search.set",
            "session.close",
            "session.show",
            "url.open",
        ];
        PLUMBING.contains(&self.name)
    }

    /// `[--force] [--cascade=orphan|background]`: its arguments as help shows them.
    pub fn usage(&self) -> String {
        usage(self.arguments)
    }
}

macro_rules! commands {
    ($($module:ident: $($name:ident)*;)*) => {
        /// Every command, in the order of the help.
        pub static COMMANDS: &[&Command] = &[$($(&$module::$name,)*)*];
    };
}

commands! {
    nav: DOWN UP PAGE_DOWN PAGE_UP HALF_DOWN HALF_UP FIRST LAST LEFT RIGHT ENTER BACK CLOSE
        MARK MARK_ALL MARK_CLEAR FILTER FILTER_SET FILTER_KEEP SEARCH SEARCH_SET SEARCH_NEXT SEARCH_PREVIOUS
        SORT WIDE FAULTS LABEL_COLUMN EXPORT WRAP COPY_TEXT REVEAL
        LOG_FOLLOW LOG_TIMESTAMPS LOG_CLEAR LOG_CONTEXT LOG_SAVE LOG_PREVIOUS LOG_CONTAINER FORWARD_STOP FORWARD_BROWSE
        TAB_NEXT TAB_PREVIOUS TAB_LAST TAB_GO TAB_CLOSE;
    open: OPEN COMMAND COMMAND_RUN PALETTE HELP MESSAGES LABELS FORWARDS OWNER;
    pane: SPLIT FOCUS NEXT CLOSE ONLY ZOOM SWAP RESIZE EVEN LEAVE PREVIEW LOGS_BESIDE HISTORY_BACK HISTORY_FORWARD;
    place: NAMESPACES NAMESPACE_SET NAMESPACE_ALL NAMESPACE_CREATE CONTEXTS CONTEXT_SET;
    object: DESCRIBE YAML EDIT DELETE LABEL ANNOTATE SCALE COPY_NAME;
    pod: LOGS LOGS_REOPEN SHELL ATTACH FORWARD RUN;
    outline: ROLLOUT XRAY WORKLOADS PULSE CHECK ASK;
    rollout: RESTART PAUSE RESUME UNDO IMAGE RESOURCES ENV AUTOSCALE;
    node: CORDON UNCORDON DRAIN TAINT EVICT;
    job: TRIGGER SUSPEND UNSUSPEND SANITIZE DETACH;
    rights: CAN_I WHO_CAN ACCOUNT;
    explain: EXPLAIN;
    why: WHY REMEDY;
    change: UNDO REDO CANCEL NOTICE JOURNAL KUBECTL;
    manifest: APPLY;
    program: EMBEDDED RETRY LOGIN THEME KEYMAP CLIPBOARD FILE_SAVE URL_OPEN SESSION_CLOSE SESSION_SHOW QUIT INTERRUPT;
}

/// The command of that name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name).copied()
}

/// The command that people call so: by its name or an alias.
pub fn called(name: &str) -> Option<&'static Command> {
    find(name).or_else(|| COMMANDS.iter().find(|command| command.aliases.contains(&name)).copied())
}

/// Runs a line, and what it leads to; a loop of lines is cut.
pub fn run(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let command = find(&line.name).ok_or_else(|| unknown(&line.name))?;
    check(command.name, command.arguments, line)?;
    if command.changes {
        cx.may_change()?;
    }
    if !command.fits(&cx.state.scopes(false)) {
        return Err(not_here(command.name));
    }
    match command.run {
        Run::App(run) => run(cx, line),
        Run::View(told) => match cx.view_command(&told(line)?)? {
            Some(next) if next.name != line.name => self::run(cx, &next),
            _ => Ok(()),
        },
    }
}

/// How alike two names are, from 0 to 1.
fn likeness(one: &str, other: &str) -> f32 {
    similar::TextDiff::from_chars(one, other).ratio()
}

fn unknown(name: &str) -> Error {
    let names = COMMANDS
        .iter()
        .flat_map(|command| command.aliases.iter().chain([&command.name]));
    let nearest = names
        .map(|known| (likeness(name, known), known))
        // What is not like it at all is no help.
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    let error = Error::usage(format!("there is no command or kind {name:?}"));
    match nearest {
        Some((_, nearest)) => error.hint(format!("did you mean {nearest}?")),
        None => error.hint("`:` and Tab list what there is"),
    }
}

/// Keys whose lines no command takes: a broken keymap says so at start.
pub fn unknown_bindings(keymap: &Keymap) -> Vec<String> {
    let scopes: Vec<String> = keymap.scopes().map(str::to_owned).collect();
    let bindings = scopes
        .iter()
        .flat_map(|scope| keymap.bindings(scope).into_iter().map(move |binding| (scope, binding)));
    bindings
        .filter_map(|(scope, binding)| {
            let why = match find(&binding.line.name) {
                None => "there is no such command".to_owned(),
                Some(command) => check(command.name, command.arguments, &binding.line).err()?.message,
            };
            let keys: String = binding.chords.iter().map(ToString::to_string).collect();
            Some(format!("[{scope}] {keys} = {:?}: {why}", binding.line.name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scopes of every view there is, as views give them, without `global`.
    const VIEWS: &[&[Scope]] = &[
        &["pods", "objects", "table"],
        &["namespaces", "objects", "table"],
        &["objects", "table"],
        &["pods", "outline", "table"],
        &["workloads", "outline", "table"],
        &["outline", "table"],
        &["workloads", "objects", "table"],
        &["nodes", "objects", "table"],
        &["jobs", "objects", "table"],
        &["services", "objects", "table"],
        &["containers", "pods", "describe", "table"],
        &["labels", "table"],
        &["forwards", "table"],
        &["pods", "text"],
        &["yaml", "text"],
        &["why", "pods", "describe", "text"],
        &["why", "describe", "text"],
        &["preview", "pods", "describe"],
        &["preview", "describe"],
        &["text"],
        &["logs"],
        &["terminal"],
        &["terminal", "text"],
    ];

    #[test]
    fn names_are_unique_and_documented() {
        let mut names: Vec<_> = COMMANDS
            .iter()
            .flat_map(|command| command.aliases.iter().chain([&command.name]))
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for command in COMMANDS {
            assert!(
                !command.doc.is_empty() && !command.doc.ends_with('.'),
                "{}",
                command.name
            );
            assert!(command.name.contains('.'), "{}", command.name);
        }
    }

    #[test]
    fn every_shipped_key_runs_a_command_that_its_view_takes() {
        for name in Keymap::built_in() {
            let keymap = Keymap::load(name, None).expect("parses");
            assert_eq!(unknown_bindings(&keymap), Vec::<String>::new(), "{name}");
            for view in VIEWS {
                let mut scopes = view.to_vec();
                if *view != ["terminal"] {
                    scopes.push("global");
                }
                for binding in scopes.iter().flat_map(|scope| keymap.bindings(scope)) {
                    // An inner scope may have taken the key for itself.
                    let crate::keys::Found::Line(line) = keymap.find(&scopes, &binding.chords) else {
                        continue;
                    };
                    let command = find(&line.name).expect("known");
                    let keys: String = binding.chords.iter().map(ToString::to_string).collect();
                    assert!(
                        command.fits(&scopes),
                        "{name}: {keys} = {} does nothing in {view:?}",
                        line.name
                    );
                }
            }
        }
    }

    /// Commands that do the same to different things: take a copy, narrow, show what is cut off, end it, what was there before.
    const ALIKE: &[&[&str]] = &[
        &["object.copy", "text.copy"],
        &["filter.open", "search.open"],
        &["table.wide", "text.wrap"],
        &["object.delete", "forward.stop"],
        &["object.yaml", "view.back"],
        &["pod.logs", "logs.previous"],
        // The numbers on the screen.
        &["tab.go", "why.remedy"],
    ];

    #[test]
    fn the_same_key_means_the_same_in_every_view() {
        let keymap = Keymap::load("default", None).expect("built in");
        let mut meanings: std::collections::BTreeMap<String, &'static str> = std::collections::BTreeMap::new();
        for view in VIEWS.iter().filter(|view| !view.contains(&"terminal")) {
            let scopes: Vec<Scope> = view.iter().copied().chain(["global"]).collect();
            // What follows a prefix is said by the menu that the prefix opens.
            let bindings = scopes.iter().flat_map(|scope| keymap.bindings(scope));
            for binding in bindings.filter(|binding| binding.chords.len() == 1) {
                let crate::keys::Found::Line(line) = keymap.find(&scopes, &binding.chords) else {
                    continue;
                };
                let name = find(&line.name).expect("known").name;
                let keys: String = binding.chords.iter().map(ToString::to_string).collect();
                let before = *meanings.entry(keys.clone()).or_insert(name);
                let alike = ALIKE
                    .iter()
                    .any(|alike| alike.contains(&before) && alike.contains(&name));
                assert!(before == name || alike, "{keys} is {before}, and {name} in {view:?}");
            }
        }
    }

    #[test]
    fn a_mistyped_command_gets_a_suggestion() {
        assert!(unknown("pod.log").hints[0].contains("pod.logs"));
        assert!(unknown("forwardz").hints[0].contains("forward"));
        assert!(!unknown("crd").hints[0].contains("did you mean"));
    }
}
