//! `docs/reference.md` is written from the registries and checked here: what is documented is what there is.
//!
//! `UPDATE=1 cargo test docs` writes it anew.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use knarr::action::{self, COMMANDS};
use knarr::keys::{Binding, Chord, Found, Keymap};
use knarr::kind;
use knarr::theme::{Role, Theme};

fn keys(chords: &[Chord]) -> String {
    let labels: Vec<String> = chords.iter().map(|chord| chord.label()).collect();
    // A bar would end the cell of a table, and a backslash would escape what follows it.
    format!("`{}`", labels.join(" ").replace('|', "\\|"))
}

fn line(binding: &Binding) -> String {
    let args: String = binding.line.args.iter().map(|arg| format!(" {arg}")).collect();
    format!("`{}{args}`", binding.line.name)
}

/// What the program says of itself.
fn usage(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_knarr"))
        .args(args)
        .arg("--help")
        .env_remove("COLUMNS")
        .env("NO_COLOR", "1")
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("help is text");
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned()
}

fn command_line(out: &mut String) {
    *out += "## Command line\n\n";
    for args in [&[][..], &["cluster"], &["info"], &["completions"]] {
        let _ = writeln!(
            out,
            "```text\n$ knarr {}--help\n{}\n```\n",
            args.iter().map(|arg| format!("{arg} ")).collect::<String>(),
            usage(args)
        );
    }
}

fn commands(out: &mut String) {
    *out += "## Commands\n\nKeys, the `:` prompt, the palette (`Ctrl-P`) and dialogs all run commands by name; `:` takes the short forms, too. \
             A command marked `*` may change the cluster: read-only mode refuses it. Some mean something in some views only: those with the scopes named.\n\n\
             | command | short | arguments | where | what it does |\n|---|---|---|---|---|\n";
    let quoted = |words: &[&str]| {
        words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    for command in COMMANDS {
        let star = if command.changes { " *" } else { "" };
        let usage = match &*command.usage() {
            "" => String::new(),
            usage => format!("`{}`", usage.replace('|', "\\|")),
        };
        let _ = writeln!(
            out,
            "| `{}`{star} | {} | {usage} | {} | {} |",
            command.name,
            quoted(command.aliases),
            command.scopes.join(", "),
            command.doc
        );
    }
    out.push('\n');
}

/// One row per key, one column per view: whether a key means the same everywhere is seen at a glance.
fn keys_by_view(out: &mut String) {
    const VIEWS: &[(&str, &[&str])] = &[
        ("pods", &["pods", "objects", "table"]),
        ("other tables", &["objects", "table"]),
        ("describe", &["describe", "text"]),
        ("YAML", &["yaml", "text"]),
        ("logs", &["logs"]),
        ("sessions", &["forwards", "table"]),
        ("labels", &["labels", "table"]),
        ("no cluster", &["trouble"]),
    ];
    let keymap = Keymap::load("default", None).expect("loads");
    let mut typed: Vec<Vec<Chord>> = Vec::new();
    for binding in keymap.scopes().flat_map(|scope| keymap.bindings(scope)) {
        if !typed.contains(&binding.chords) {
            typed.push(binding.chords);
        }
    }
    *out += "### The same key in every view\n\n| keys |";
    for (name, _) in VIEWS {
        let _ = write!(out, " {name} |");
    }
    let _ = writeln!(out, "\n|---|{}", "---|".repeat(VIEWS.len()));
    for chords in typed {
        let _ = write!(out, "| {} |", keys(&chords));
        for (_, scopes) in VIEWS {
            let scopes: Vec<_> = scopes.iter().copied().chain(["global"]).collect();
            let name = match keymap.find(&scopes, &chords) {
                Found::Line(line) if action::find(&line.name).is_some_and(|command| command.fits(&scopes)) => line.name,
                _ => String::new(),
            };
            let _ = write!(out, " {name} |");
        }
        out.push('\n');
    }
    out.push('\n');
}

fn keymaps(out: &mut String) {
    *out += "## Keys\n\nA scope's keys work where that scope is shown; an inner scope hides the same key of an outer one. \
             `?` shows the keys that work where you are.\n\n";
    let default = Keymap::load("default", None).expect("loads");
    let _ = writeln!(out, "### Keymap `default`\n");
    for scope in default.scopes() {
        let bindings = default.bindings(scope);
        if bindings.is_empty() {
            continue;
        }
        let _ = writeln!(out, "#### {scope}\n\n| keys | runs | what it does |\n|---|---|---|");
        for binding in &bindings {
            let doc = action::find(&binding.line.name).map_or("", |action| action.doc);
            let _ = writeln!(out, "| {} | {} | {doc} |", keys(&binding.chords), line(binding));
        }
        out.push('\n');
    }
    for name in Keymap::built_in().filter(|name| *name != "default") {
        let keymap = Keymap::load(name, None).expect("loads");
        let _ = writeln!(
            out,
            "### Keymap `{name}`\n\nWhat differs from `default`:\n\n| scope | keys | runs |\n|---|---|---|"
        );
        for scope in keymap.scopes() {
            let known = default.bindings(scope);
            for binding in keymap.bindings(scope).iter().filter(|binding| !known.contains(binding)) {
                let _ = writeln!(out, "| {scope} | {} | {} |", keys(&binding.chords), line(binding));
            }
        }
        out.push('\n');
    }
}

fn kinds(out: &mut String) {
    *out += "## Kinds\n\nEvery resource the cluster serves has a table, YAML, describe and events. The server says the columns of most, as it does for `kubectl get`. These have columns and sections of their own; \
             columns in parentheses are shown in wide tables (`w`).\n\n| kind | columns |\n|---|---|\n";
    for kind in kind::all() {
        let name = if kind.group.is_empty() {
            kind.plural.to_owned()
        } else {
            format!("{}.{}", kind.plural, kind.group)
        };
        let columns: Vec<String> = kind
            .columns
            .iter()
            .map(|column| {
                if column.wide {
                    format!("({})", column.title)
                } else {
                    column.title.to_string()
                }
            })
            .collect();
        let _ = writeln!(out, "| `{name}` | {} |", columns.join(", "));
    }
    out.push('\n');
}

fn roles(out: &mut String) {
    let themes: Vec<String> = Theme::built_in().map(|name| format!("`{name}`")).collect();
    let _ = writeln!(
        out,
        "## Themes\n\nBuilt in: {}. A theme gives these roles a style:\n\n| role | what it is for |\n|---|---|",
        themes.join(", ")
    );
    for role in Role::ALL {
        let _ = writeln!(out, "| `{}` | {} |", role.name(), role.doc());
    }
}

fn reference() -> String {
    let mut out = String::from(
        "# Reference\n\nWritten by `UPDATE=1 cargo test docs` from the program itself; a test keeps it true. The [guide](guide.md) is for reading.\n\n",
    );
    command_line(&mut out);
    commands(&mut out);
    keymaps(&mut out);
    keys_by_view(&mut out);
    kinds(&mut out);
    roles(&mut out);
    out
}

#[test]
fn the_reference_documents_what_there_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let now = reference();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).expect("written");
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = now
        .lines()
        .zip(written.lines().chain(std::iter::repeat("")).take(now.lines().count()))
        .find(|(now, written)| now != written);
    assert!(
        now == written,
        "docs/reference.md is out of date (UPDATE=1 writes it); first difference: {differs:?}"
    );
}

/// Words in backticks of a document that look like actions.
fn named_actions(text: &str) -> Vec<&str> {
    let pattern = |word: &&str| {
        word.split_once('.').is_some_and(|(noun, verb)| {
            let plain = |part: &str| !part.is_empty() && part.chars().all(|ch| ch.is_ascii_lowercase() || ch == '-');
            plain(noun) && plain(verb) && !["toml", "md", "rs", "json", "yaml", "log", "redb", "crt"].contains(&verb)
        })
    };
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|quoted| quoted.split(' ').next())
        .filter(pattern)
        .collect()
}

#[test]
fn documents_name_actions_that_exist() {
    for file in ["README.md", "docs/guide.md", "ARCHITECTURE.md"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file);
        for name in named_actions(&text) {
            let role = Role::ALL.iter().any(|role| role.name() == name);
            assert!(
                role || action::find(name).is_some(),
                "{file} names {name}, which is no action"
            );
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in [
        "README.md",
        "docs/guide.md",
        "docs/reference.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
    ] {
        let text = std::fs::read_to_string(root.join(file)).expect(file);
        let home = root.join(file).parent().expect("a directory").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                assert!(home.join(path).exists(), "{file} links to {link}, which does not exist");
            }
        }
    }
}
