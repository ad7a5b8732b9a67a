//! The lines typed at the command prompt, oldest first: bounded, each once, and none that holds a secret.

/// Lines kept.
const MOST: usize = 500;
/// Longest line kept: longer ones were pasted.
const LONGEST: usize = 1024;

/// Lines typed so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(Vec<String>);

impl History {
    /// From a file's text, a line each.
    pub fn parse(text: &str) -> Self {
        let mut history = Self::default();
        for line in text.lines() {
            history.add(line);
        }
        history
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> &[String] {
        &self.0
    }

    /// Adds a line as the newest; one that is there already moves.
    pub fn add(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() || line.len() > LONGEST || line.contains(char::is_control) || is_secret(line) {
            return;
        }
        self.0.retain(|known| known != line);
        self.0.push(line.to_owned());
        let spare = self.0.len().saturating_sub(MOST);
        self.0.drain(..spare);
    }

    /// As a file's text.
    pub fn text(&self) -> String {
        self.0.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Whether a line names something that should not be written to a disk.
fn is_secret(line: &str) -> bool {
    let lower = line.to_lowercase();
    ["password", "passwd", "secret=", "token"]
        .iter()
        .any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_once_in_order_and_bounded() {
        let mut history = History::parse("pods\nnodes\npods\n\n");
        assert_eq!(history.lines(), ["nodes", "pods"]);
        history.add("run x --image=y --env=PASSWORD=hunter2");
        history.add("a\u{1b}[31m");
        assert_eq!(history.lines().len(), 2);
        for number in 0..2 * MOST {
            history.add(&format!("line {number}"));
        }
        assert_eq!(history.lines().len(), MOST);
        assert_eq!(History::parse(&history.text()), history);
    }
}
