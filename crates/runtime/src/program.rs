//! Looking programs up, with the messages that people know from container runtimes.

use std::io;
use std::path::{Path, PathBuf};

/// What a container without a `PATH` of its own searches.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds the program `argv[0]` names. `look` says of a path whether it is a directory and whether it is executable; relative names with a
/// slash are taken from `directory`.
pub(crate) fn find(
    argv: &[String],
    search: &str,
    directory: &Path,
    look: impl Fn(&Path) -> io::Result<(bool, bool)>,
) -> Result<PathBuf, String> {
    let Some(name) = argv.first().filter(|name| !name.is_empty()) else {
        return Err("exec: no command".to_owned());
    };
    if name.contains('/') {
        let path = directory.join(name);
        return match look(&path) {
            Err(error) => Err(format!("exec: {name:?}: stat {name}: {}", reason(&error))),
            Ok((true, _)) => Err(format!("exec: {name:?}: is a directory")),
            Ok((false, false)) => Err(format!("exec: {name:?}: permission denied")),
            Ok((false, true)) => Ok(path),
        };
    }
    search
        .split(':')
        .filter(|entry| entry.starts_with('/'))
        .map(|entry| Path::new(entry).join(name))
        .find(|path| matches!(look(path), Ok((false, true))))
        .ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

/// An error as C and Go word it: in lower case, without a number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.raw_os_error().map_or_else(
        || error.to_string(),
        |number| nix::Error::from_raw(number).desc().to_owned(),
    );
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The search path in an environment; the last assignment wins.
pub(crate) fn search_path(environment: &[(String, String)]) -> &str {
    environment
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map_or(DEFAULT_PATH, |(_, value)| value)
}

/// `given` with a search path, the `extra` ones and, on a terminal, its type, wherever they are not set already.
pub(crate) fn environment(given: &[(String, String)], extra: &[(&str, &str)], tty: bool) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in given {
        // Programs take the first of several assignments, Kubernetes means the last.
        all.retain(|(other, _)| other != name);
        all.push((name.clone(), value.clone()));
    }
    let terminal = tty.then_some(("TERM", "xterm"));
    for (name, value) in [("PATH", DEFAULT_PATH)].iter().chain(extra).chain(&terminal) {
        if !all.iter().any(|(other, _)| other == name) {
            all.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(path: &Path) -> io::Result<(bool, bool)> {
        // Collecting the components drops the dots in between.
        match path.components().collect::<PathBuf>().to_str() {
            Some("/bin/sh" | "/job/run") => Ok((false, true)),
            Some("/bin") => Ok((true, true)),
            Some("/etc/passwd" | "/sbin/sh") => Ok((false, false)),
            _ => Err(nix::Error::ENOENT.into()),
        }
    }

    fn ask(name: &str) -> Result<PathBuf, String> {
        find(&[name.to_owned()], "relative:/sbin:/bin", Path::new("/job"), look)
    }

    #[test]
    fn programs_are_found_and_missed_in_the_words_of_container_runtimes() {
        assert_eq!(ask("sh").unwrap(), Path::new("/bin/sh"));
        assert_eq!(ask("./run").unwrap(), Path::new("/job/./run"));
        let missed = |name: &str| ask(name).unwrap_err();
        assert_eq!(missed("bash"), r#"exec: "bash": executable file not found in $PATH"#);
        assert_eq!(missed("/x/y"), r#"exec: "/x/y": stat /x/y: no such file or directory"#);
        assert_eq!(missed("/etc/passwd"), r#"exec: "/etc/passwd": permission denied"#);
        assert_eq!(missed("/bin"), r#"exec: "/bin": is a directory"#);
        assert_eq!(missed(""), "exec: no command");
    }

    #[test]
    fn the_environment_keeps_the_last_of_each_and_gains_what_is_missing() {
        let given = [("A", "1"), ("TERM", "dumb"), ("A", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let all = environment(&given, &[("HOME", "/root")], true);
        let text: Vec<String> = all.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(
            text,
            ["TERM=dumb", "A=2", &format!("PATH={DEFAULT_PATH}"), "HOME=/root"]
        );
        assert_eq!(search_path(&all), DEFAULT_PATH);
    }
}
