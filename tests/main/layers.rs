//! The rules of the house, read from the source: who imports whom, how long files are, what they are called.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Modules of the workstation from left to right: each imports only from those before it. This is the rule of `src/lib.rs`.
const ORDER: [&str; 15] = [
    "text", "error", "config", "theme", "document", "keys", "cluster", "store", "session", "kind", "widget", "view",
    "state", "action", "app",
];

/// The program: it may import everything.
const PROGRAM: &str = "main";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One source file.
struct Source {
    /// Path from the workspace's root.
    path: PathBuf,
    /// Its lines, without the unit tests at its end.
    lines: Vec<String>,
    /// Whether it holds nothing but tests.
    is_test: bool,
}

impl Source {
    /// The code of each line with its number; comments are left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().filter_map(|(at, line)| {
            let code = line.split("//").next().unwrap_or_default();
            (!code.trim().is_empty()).then_some((at + 1, code))
        })
    }

    /// The workstation's module it belongs to.
    fn module(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src").ok()?;
        let first = below.components().next()?.as_os_str().to_str()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        match name {
            "lib" => None,
            "main" | "cli" => Some(PROGRAM),
            name => Some(name),
        }
    }
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source is readable");
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let tests = lines.windows(2).position(|pair| {
                pair[0].trim() == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
            });
            if let Some(tests) = tests {
                lines.truncate(tests);
            }
            let path = path.strip_prefix(root()).expect("below the root").to_owned();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let below_tests = path.components().any(|part| {
                ["tests", "benches", "examples"]
                    .iter()
                    .any(|name| part.as_os_str() == *name)
            });
            let is_test = below_tests || stem == "tests" || stem.ends_with("_tests");
            found.push(Source { path, lines, is_test });
        }
    }
}

/// The workstation's sources.
fn workstation() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    assert!(found.len() > 50, "the sources are where they are expected");
    found
}

/// Every source of the workspace, tests included.
fn workspace() -> Vec<Source> {
    let mut found = workstation();
    for directory in ["crates", "tests", "benches"] {
        collect(&root().join(directory), &mut found);
    }
    found
}

fn report(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn modules_import_only_from_the_left() {
    let named = Regex::new(r"\bcrate::(\w+|\{)").expect("a pattern");
    let mut broken = Vec::new();
    for source in workstation().iter().filter(|source| !source.is_test) {
        let Some(module) = source.module().filter(|module| *module != PROGRAM) else {
            continue;
        };
        let rank = ORDER.iter().position(|known| *known == module);
        let Some(rank) = rank else {
            broken.push(format!(
                "{}: module {module} has no place in the import rule",
                source.path.display()
            ));
            continue;
        };
        for (number, code) in source.code() {
            for found in named.captures_iter(code) {
                let other = &found[1];
                let place = ORDER.iter().position(|known| *known == other);
                if other == "{" || place.is_some_and(|place| place > rank) {
                    broken.push(format!(
                        "{}:{number}: {module} must not see {other}: {}",
                        source.path.display(),
                        code.trim()
                    ));
                }
            }
        }
    }
    report(&broken);
}

#[test]
fn the_import_rule_in_the_code_is_the_one_in_the_documentation() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("readable");
    let rule = lib
        .lines()
        .find_map(|line| line.strip_prefix("//! `text, error"))
        .expect("the rule is stated");
    let stated: Vec<&str> = rule
        .trim_end_matches('`')
        .split('<')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(stated[..stated.len() - 1], ORDER[2..]);
    assert_eq!(stated.last(), Some(&PROGRAM));
    for module in ORDER {
        assert!(lib.contains(&format!("pub mod {module};")), "{module} is a module");
    }
}

#[test]
fn each_outside_crate_is_known_where_it_belongs_and_nowhere_else() {
    let homes: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("ratatui", ["theme", "widget", "view", "app", PROGRAM].as_slice()),
        ("kube", &["cluster", "store", "session"]),
        ("knarr_cluster", &["cluster"]),
        ("arboard", &["app"]),
        ("clap", &[PROGRAM]),
        ("serde_yaml", &["cluster", "kind", "action"]),
    ]);
    let mut broken = Vec::new();
    for source in workstation().iter().filter(|source| !source.is_test) {
        let Some(module) = source.module() else { continue };
        for (number, code) in source.code() {
            for (outside, allowed) in &homes {
                let uses = code.match_indices(&format!("{outside}::")).any(|(at, _)| {
                    !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
                });
                let here = allowed.contains(&module)
                    && (*outside != "knarr_cluster" || source.path.ends_with("cluster/embedded.rs"));
                if uses && !here {
                    broken.push(format!(
                        "{}:{number}: {module} must not know {outside}: {}",
                        source.path.display(),
                        code.trim()
                    ));
                }
            }
        }
    }
    report(&broken);
}

#[test]
fn the_mini_cluster_does_not_know_the_workstation() {
    let mut broken = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("readable").flatten() {
        let path = entry.path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let manifest: toml::Table = text.parse().expect("a manifest parses");
        let name = entry.file_name().into_string().expect("a crate's name is text");
        let depends = |table: &str| -> Vec<String> {
            let own = manifest.get(table).and_then(|table| table.as_table());
            own.into_iter().flat_map(|table| table.keys().cloned()).collect()
        };
        let (normal, dev) = (depends("dependencies"), depends("dev-dependencies"));
        for crate_name in normal.iter().chain(&dev) {
            if ["knarr", "ratatui"].contains(&crate_name.as_str()) {
                broken.push(format!("crates/{name} depends on {crate_name}"));
            }
        }
        // Controllers and kubelets are clients like any other: nothing goes around the API.
        if ["control", "node"].contains(&name.as_str()) && normal.iter().any(|name| name == "knarr-apiserver") {
            broken.push(format!(
                "crates/{name} knows the API server other than through its client"
            ));
        }
        // What describes types, kinds and images knows no server.
        let leaves = ["schema", "clock", "image", "runtime", "toolbox", "resource", "stream"];
        let servers = ["knarr-apiserver", "knarr-control", "knarr-node", "knarr-cluster"];
        if leaves.contains(&name.as_str()) {
            broken.extend(
                normal
                    .iter()
                    .filter(|known| servers.contains(&known.as_str()))
                    .map(|known| format!("crates/{name} depends on {known}")),
            );
        }
    }
    report(&broken);
}

#[test]
fn files_are_short_enough_to_be_read() {
    let mut lengths = Vec::new();
    let mut broken = Vec::new();
    for source in workspace().iter().filter(|source| !source.is_test) {
        let length = source.lines.len();
        lengths.push(length);
        if length > 800 {
            broken.push(format!("{}: {length} lines, more than 800", source.path.display()));
        }
    }
    lengths.sort_unstable();
    let long = lengths.iter().filter(|length| **length > 400).count();
    if long * 10 > lengths.len() {
        broken.push(format!("{long} of {} files are longer than 400 lines", lengths.len()));
    }
    report(&broken);
}

#[test]
fn no_module_is_named_after_nothing() {
    let empty = [
        "util", "utils", "helper", "helpers", "common", "manager", "handler", "misc",
    ];
    let broken: Vec<String> = workspace()
        .iter()
        .filter(|source| {
            source.path.components().any(|part| {
                let name = part.as_os_str().to_str().unwrap_or_default();
                empty.contains(&name.strip_suffix(".rs").unwrap_or(name))
            })
        })
        .map(|source| source.path.display().to_string())
        .collect();
    report(&broken);
}

#[test]
fn every_file_says_what_it_is() {
    let broken: Vec<String> = workspace()
        .iter()
        .filter(|source| !source.lines.first().is_some_and(|line| line.starts_with("//!")))
        .filter(|source| !source.is_test)
        .map(|source| format!("{} does not begin with a sentence on itself", source.path.display()))
        .collect();
    report(&broken);
}
