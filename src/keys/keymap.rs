//! Keymaps: TOML files of scopes, each a trie of chords.
//!
//! ```toml
//! inherits = "default"
//! counts = true                              # 5j moves down five lines
//! [table]
//! j = "cursor.down"
//! d = false                                  # unbound
//! g = { label = "go", g = "cursor.first" }   # a prefix, shown by the which-key popup
//! ```

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::keys::{Chord, Line};

/// Where a binding holds: `global`, `table`, `text`, `logs`, `pods` ... Views give a chain of scopes, innermost first.
pub type Scope = &'static str;

/// A node of a scope's trie.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Runs a line.
    Leaf(Line),
    /// Waits for another chord.
    Branch {
        /// Title of the which-key popup.
        label: String,
        /// What follows, in file order.
        children: Vec<(Chord, Node)>,
    },
    /// Explicitly bound to nothing: hides outer scopes and inherited keys.
    Unbound,
}

/// A key sequence and the line it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// The chords in order.
    pub chords: Vec<Chord>,
    /// What they run.
    pub line: Line,
}

/// What a chord sequence leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A complete binding.
    Line(Line),
    /// A prefix of bindings: its label, and what may follow.
    Prefix(String, Vec<(Chord, Node)>),
    /// Nothing.
    Nothing,
}

/// All scopes of a keymap.
#[derive(Clone, Debug, Default)]
pub struct Keymap {
    /// File name without `.toml`.
    pub name: String,
    /// Whether digits before a motion say how often (`5j`), as vi has it.
    pub counts: bool,
    scopes: Vec<(String, Vec<(Chord, Node)>)>,
}

const BUILT_IN: &[(&str, &str)] = &[
    ("default", include_str!("../../keymaps/default.toml")),
    ("vim", include_str!("../../keymaps/vim.toml")),
    ("k9s", include_str!("../../keymaps/k9s.toml")),
    ("emacs", include_str!("../../keymaps/emacs.toml")),
];

impl Keymap {
    /// Names of the built-in keymaps.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Loads a keymap by name: `DIRECTORY/NAME.toml` when it exists, else the built-in one.
    pub fn load(name: &str, directory: Option<&Path>) -> Result<Self> {
        let mut layers = Vec::new();
        let mut counts = None;
        let mut next = Some(name.to_owned());
        while let Some(current) = next {
            if layers.len() > 8 {
                return Err(config(format!("keymap {name:?} inherits in a circle")));
            }
            let (mut table, origin) = read(&current, directory)?;
            match table.remove("counts") {
                None => {}
                Some(toml::Value::Boolean(value)) => counts = counts.or(Some(value)),
                Some(_) => return Err(config(format!("{origin}: counts must be true or false"))),
            }
            next = match table.remove("inherits") {
                None => None,
                Some(toml::Value::String(parent)) => Some(parent),
                Some(_) => return Err(config(format!("{origin}: inherits must be a keymap's name"))),
            };
            layers.push((table, origin));
        }
        let mut keymap = Self {
            name: name.to_owned(),
            counts: counts.unwrap_or(false),
            scopes: Vec::new(),
        };
        for (table, origin) in layers.into_iter().rev() {
            for (scope, keys) in table {
                let toml::Value::Table(keys) = keys else {
                    return Err(config(format!("{origin}: {scope} must be a table of keys")));
                };
                let children = parse_children(keys, &format!("{origin}: [{scope}]"))?;
                match keymap.scopes.iter_mut().find(|(known, _)| *known == scope) {
                    Some((_, present)) => merge(present, children),
                    None => keymap.scopes.push((scope, children)),
                }
            }
        }
        Ok(keymap)
    }

    /// Names of the scopes that have bindings.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().map(|(name, _)| name.as_str())
    }

    /// What `chords` lead to in the first scope of `chain` that knows them. Prefixes of several scopes are joined.
    pub fn find(&self, chain: &[Scope], chords: &[Chord]) -> Found {
        let mut prefix: Option<(String, Vec<(Chord, Node)>)> = None;
        for scope in chain {
            let Some((_, children)) = self.scopes.iter().find(|(name, _)| name == scope) else {
                continue;
            };
            match descend(children, chords) {
                Some(Node::Leaf(line)) if prefix.is_none() => return Found::Line(line.clone()),
                Some(Node::Unbound) if prefix.is_none() => return Found::Nothing,
                Some(Node::Branch { label, children }) => match &mut prefix {
                    None => prefix = Some((label.clone(), children.clone())),
                    Some((title, known)) => {
                        if title.is_empty() {
                            title.clone_from(label);
                        }
                        for (chord, node) in children {
                            if !known.iter().any(|(present, _)| present == chord) {
                                known.push((*chord, node.clone()));
                            }
                        }
                    }
                },
                _ => {}
            }
        }
        prefix.map_or(Found::Nothing, |(label, children)| Found::Prefix(label, children))
    }

    /// Every binding of one scope, in file order.
    pub fn bindings(&self, scope: &str) -> Vec<Binding> {
        let mut out = Vec::new();
        if let Some((_, children)) = self.scopes.iter().find(|(name, _)| name == scope) {
            collect(children, &mut Vec::new(), &mut out);
        }
        out
    }

    /// The shortest key sequence that runs `action` as it is, without arguments; else with some (first match through the chain). A key
    /// that forces is no key for what merely asks.
    pub fn key_for(&self, chain: &[Scope], action: &str) -> Option<Vec<Chord>> {
        let with = |bare: bool| {
            chain.iter().find_map(|scope| {
                self.bindings(scope)
                    .into_iter()
                    .filter(|binding| binding.line.name == action && binding.line.args.is_empty() == bare)
                    .min_by_key(|binding| binding.chords.len())
                    .map(|binding| binding.chords)
            })
        };
        with(true).or_else(|| with(false))
    }
}

fn descend<'a>(mut children: &'a [(Chord, Node)], chords: &[Chord]) -> Option<&'a Node> {
    let (last, path) = chords.split_last()?;
    for chord in path {
        match children.iter().find(|(known, _)| known == chord) {
            Some((_, Node::Branch { children: next, .. })) => children = next,
            _ => return None,
        }
    }
    children.iter().find(|(known, _)| known == last).map(|(_, node)| node)
}

fn collect(children: &[(Chord, Node)], path: &mut Vec<Chord>, out: &mut Vec<Binding>) {
    for (chord, node) in children {
        path.push(*chord);
        match node {
            Node::Leaf(line) => out.push(Binding {
                chords: path.clone(),
                line: line.clone(),
            }),
            Node::Branch { children, .. } => collect(children, path, out),
            Node::Unbound => {}
        }
        path.pop();
    }
}

fn merge(present: &mut Vec<(Chord, Node)>, added: Vec<(Chord, Node)>) {
    for (chord, node) in added {
        match (present.iter_mut().find(|(known, _)| *known == chord), node) {
            (
                Some((_, Node::Branch { label, children })),
                Node::Branch {
                    label: new_label,
                    children: new_children,
                },
            ) => {
                *label = new_label;
                merge(children, new_children);
            }
            (Some((_, slot)), node) => *slot = node,
            (None, node) => present.push((chord, node)),
        }
    }
}

fn parse_children(keys: toml::Table, context: &str) -> Result<Vec<(Chord, Node)>> {
    let mut children: Vec<(Chord, Node)> = Vec::with_capacity(keys.len());
    for (key, value) in keys {
        if key == "label" {
            continue;
        }
        let chord = Chord::parse(&key).map_err(|error| config(format!("{context}: {}", error.message)))?;
        let node = match value {
            toml::Value::String(text) => {
                Node::Leaf(Line::parse(&text).map_err(|error| config(format!("{context} {key}: {}", error.message)))?)
            }
            toml::Value::Boolean(false) => Node::Unbound,
            toml::Value::Table(table) => Node::Branch {
                label: table
                    .get("label")
                    .and_then(|label| label.as_str())
                    .unwrap_or_default()
                    .to_owned(),
                children: parse_children(table, context)?,
            },
            other => {
                return Err(config(format!("{context} {key}: {other} is not a command line"))
                    .hint("write an action in quotes, a table of further keys, or false to unbind"));
            }
        };
        children.push((chord, node));
    }
    Ok(children)
}

fn read(name: &str, directory: Option<&Path>) -> Result<(toml::Table, String)> {
    let own = directory
        .map(|directory| directory.join(format!("{name}.toml")))
        .filter(|path| path.is_file());
    let (text, origin) = match (&own, BUILT_IN.iter().find(|(known, _)| *known == name)) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| config(format!("cannot read the keymap {}", path.display())).because(&error))?;
            (text, path.display().to_string())
        }
        (None, Some((_, text))) => ((*text).to_owned(), format!("built-in keymap {name}")),
        (None, None) => {
            let names: Vec<_> = Keymap::built_in().collect();
            return Err(config(format!("there is no keymap {name:?}")).hint(format!(
                "choose one of {}, or put {name}.toml into the keymaps directory",
                names.join(", ")
            )));
        }
    };
    let table = toml::from_str(&text).map_err(|error| config(format!("{origin} cannot be parsed")).because(&error))?;
    Ok((table, origin))
}

fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::parse_chords;

    #[test]
    fn every_built_in_keymap_parses() {
        for name in Keymap::built_in() {
            Keymap::load(name, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn a_users_keymap_overrides_unbinds_and_extends() {
        let dir = tempfile::tempdir().expect("temp dir");
        let text = "inherits = \"default\"\n[table]\nj = \"cursor.up\"\nk = false\ng = { label = \"go\", z = \"cursor.last\" }\n";
        std::fs::write(dir.path().join("mine.toml"), text).expect("write");
        let keymap = Keymap::load("mine", Some(dir.path())).expect("loads");
        let find = |keys: &str| keymap.find(&["table", "global"], &parse_chords(keys).expect("keys"));
        assert_eq!(find("j"), Found::Line(Line::bare("cursor.up")));
        assert_eq!(find("k"), Found::Nothing);
        assert_eq!(find("gz"), Found::Line(Line::bare("cursor.last")));
        assert_eq!(find("gg"), Found::Line(Line::bare("cursor.first")));
    }

    #[test]
    fn mistakes_in_a_keymap_are_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let fails = |text: &str| {
            std::fs::write(dir.path().join("bad.toml"), text).expect("write");
            Keymap::load("bad", Some(dir.path())).expect_err("refused").to_string()
        };
        assert!(fails("[table]\n\"<nope>\" = \"x.y\"").contains("<nope>"));
        assert!(fails("[table]\nj = 3").contains("not a command line"));
        assert!(fails("inherits = \"bad\"").contains("circle"));
    }
}
