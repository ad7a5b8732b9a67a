//! What a command is called in menus and in the help, in a word or two, and for which task one reaches for it.

use super::find;
use crate::keys::Line;

/// What somebody wants to do: the groups of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// See what there is.
    Look,
    /// Logs, shells and ports.
    Talk,
    /// Change the cluster.
    Change,
    /// Narrow, order and take what is shown.
    Narrow,
    /// Move the cursor.
    Move,
    /// Get to another place.
    Go,
    /// Arrange what is on the screen.
    Arrange,
}

impl Task {
    /// The heading of its group.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Talk => "logs, shells, ports",
            Self::Change => "change",
            Self::Narrow => "narrow and take",
            Self::Move => "move",
            Self::Go => "go",
            Self::Arrange => "tabs and panes",
        }
    }

    /// The task of a key that leads to others: what its menu is called says it, else the first of them.
    pub fn leading(menu: &str, first: &Line) -> Self {
        match menu {
            "change" => Self::Change,
            "go to" => Self::Go,
            "pane" => Self::Arrange,
            "sort by" => Self::Narrow,
            _ => Self::of(first),
        }
    }

    /// The task of a command.
    pub fn of(line: &Line) -> Self {
        let noun = line.name.split('.').next().unwrap_or_default();
        match (&*line.name, noun) {
            ("object.copy" | "text.copy" | "text.wrap", _) => Self::Narrow,
            ("pod.run" | "pod.evict" | "pod.detach" | "pod.sanitize", _) => Self::Change,
            ("namespace.create" | "why.remedy", _) => Self::Change,
            ("logs.beside", _) | (_, "tab" | "pane" | "preview") => Self::Arrange,
            (_, "cursor") => Self::Move,
            (_, "filter" | "search" | "mark" | "table") => Self::Narrow,
            (_, "pod" | "logs" | "forward") => Self::Talk,
            ("view.enter", _) | (_, "yaml" | "object" | "rollout" | "service" | "field") if !changes(line) => {
                Self::Look
            }
            (_, "change" | "manifest") => Self::Change,
            _ if changes(line) => Self::Change,
            _ => Self::Go,
        }
    }
}

fn changes(line: &Line) -> bool {
    find(&line.name).is_some_and(|command| command.changes)
}

/// Where the verb alone does not say it.
const LABELS: &[(&str, &str)] = &[
    ("app.interrupt", "stop, or leave"),
    ("app.quit", "leave"),
    ("cluster.embedded", "embedded cluster"),
    ("field.explain", "explain field"),
    ("forward.browse", "open in browser"),
    ("forward.stop", "stop the forward"),
    ("history.back", "back in history"),
    ("history.forward", "forth in history"),
    ("job.trigger", "run it now"),
    ("logs.beside", "logs below"),
    ("logs.clear", "hide old lines"),
    ("logs.follow", "pause, or follow"),
    ("logs.previous", "previous log"),
    ("manifest.apply", "apply a file"),
    ("mark.all", "mark all"),
    ("mark.clear", "unmark all"),
    ("mark.toggle", "mark"),
    ("namespace.all", "all namespaces"),
    ("namespace.create", "create namespace"),
    ("notice.open", "read what waits"),
    ("object.copy", "copy the name"),
    ("object.delete --choose", "delete, and how"),
    ("object.delete --force", "force delete"),
    ("pane.close", "close pane"),
    ("pane.next", "next pane"),
    ("pane.only", "only this pane"),
    ("pod.logs --previous", "previous log"),
    ("pod.run", "run an image"),
    ("pod.sanitize", "delete finished"),
    ("preview.toggle", "preview"),
    ("rollout.undo", "roll back"),
    ("search.next", "next match"),
    ("search.previous", "previous match"),
    ("service.ask", "ask for answer"),
    ("service.check", "check each hop"),
    ("tab.close", "close tab"),
    ("tab.go", "tab by number"),
    ("tab.last", "tab before"),
    ("tab.next", "next tab"),
    ("tab.previous", "previous tab"),
    ("table.faults", "faults only"),
    ("table.wide", "more columns"),
    ("view.back", "one step back"),
    ("view.close", "close"),
    ("view.enter", "open"),
    ("why.remedy", "do a remedy"),
];

/// What a line does, in a word or two: `describe`, `force delete`, `pods`.
pub fn label(line: &Line) -> String {
    let whole = std::iter::once(&line.name).chain(&line.args);
    let whole = whole.map(String::as_str).collect::<Vec<_>>().join(" ");
    let known = |text: &str| LABELS.iter().find(|(name, _)| *name == text).map(|(_, label)| *label);
    if let Some(label) = known(&whole) {
        return label.to_owned();
    }
    let args = line.args.join(" ");
    let (noun, verb) = line.name.split_once('.').unwrap_or(("", &line.name));
    let said = match (known(&line.name), verb) {
        (Some(label), _) => label.to_owned(),
        // What tells keys that open things apart is what they open.
        (None, "open") if !args.is_empty() => return args,
        (None, "open" | "pick") => noun.to_owned(),
        (None, verb) => verb.replace('-', " "),
    };
    format!("{said} {args}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keymap;

    #[test]
    fn a_label_is_short_and_an_open_key_is_called_by_what_it_opens() {
        for (line, expected) in [
            ("view.open pods", "pods"),
            ("namespace.pick", "namespace"),
            ("table.sort age", "sort age"),
            ("object.delete --force", "force delete"),
            ("cursor.page-down", "page down"),
        ] {
            assert_eq!(label(&Line::parse(line).expect("a line")), expected);
        }
        let keymap = Keymap::load("default", None).expect("built in");
        for binding in keymap.scopes().flat_map(|scope| keymap.bindings(scope)) {
            let label = label(&binding.line);
            assert!(label.len() <= 16, "{label:?} is long for a menu");
        }
    }

    #[test]
    fn what_changes_the_cluster_stands_together() {
        for (line, task) in [
            ("object.delete", Task::Change),
            ("object.describe", Task::Look),
            ("pod.logs", Task::Talk),
            ("pod.run", Task::Change),
            ("pane.zoom", Task::Arrange),
            ("view.open pods", Task::Go),
        ] {
            assert_eq!(Task::of(&Line::parse(line).expect("a line")), task, "{line}");
        }
    }
}
