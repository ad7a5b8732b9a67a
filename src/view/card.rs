//! The help: every key that works somewhere on one page, by what one wants to do.

use crate::document::{Document, TextLine};
use crate::text;
use crate::theme::Role;

/// What one key does.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The keys, the shortest first: `j ↓`.
    pub keys: String,
    /// What they do, in a word or two.
    pub label: String,
    /// The same in a sentence.
    pub doc: String,
    /// The command.
    pub command: String,
}

/// Keys that serve one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The task, or the key that leads to them.
    pub heading: String,
    /// The keys.
    pub entries: Vec<Entry>,
    /// They follow another key, which stands in a group of its own as well: where there is no room these are left out.
    pub nested: bool,
}

/// All the keys that work somewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// The groups in their order.
    pub groups: Vec<Group>,
}

/// Narrowest column.
const COLUMN: usize = 26;
/// Widest column.
const WIDEST: usize = 34;
/// Room for keys in a column.
pub const KEYS: usize = 9;

impl Card {
    /// The card on a page of so many columns and rows: as many columns as fit, without what follows a prefix if that alone makes it one page.
    pub fn document(&self, (width, height): (u16, u16)) -> Document {
        let (width, height) = (usize::from(width), usize::from(height));
        let columns = (width / COLUMN).max(1);
        let layouts = [(true, true), (false, true), (false, false)];
        let fits = layouts
            .into_iter()
            .map(|(nested, air)| self.flow(nested, air, height))
            .find(|flowed| flowed.len() <= columns);
        // What does not fit on one page is as short as it can be, and scrolls.
        let flowed = fits.unwrap_or_else(|| {
            let rows = self.rows(false, true);
            let tall = rows.len().div_ceil(columns) + 1;
            self.flow(false, true, tall)
        });
        let room = (width / flowed.len().max(1)).clamp(COLUMN, WIDEST);
        let tallest = flowed.iter().map(Vec::len).max().unwrap_or(0);
        let mut document = Document::new();
        for at in 0..tallest {
            let mut line = TextLine::new();
            for column in &flowed {
                cell(&mut line, column.get(at), room);
            }
            document.push(line);
        }
        document
    }

    /// What a search finds, one key a line with its sentence.
    pub fn found(&self, search: &str) -> Document {
        let search = search.to_lowercase();
        let hit = |entry: &&Entry| {
            [&entry.label, &entry.doc, &entry.command, &entry.keys]
                .iter()
                .any(|text| text.to_lowercase().contains(&search))
        };
        let mut document = Document::new();
        let mut seen: Vec<&str> = Vec::new();
        for entry in self.groups.iter().flat_map(|group| &group.entries).filter(hit) {
            if seen.contains(&&*entry.keys) {
                continue;
            }
            seen.push(&entry.keys);
            let line = TextLine::new()
                .with(Role::Key, &text::pad_right(&entry.keys, 10))
                .with(Role::Text, &text::pad_right(&entry.label, 18))
                .with(Role::Dim, &format!("{}  {}", entry.doc, entry.command));
            document.push(line.hanging(28));
        }
        document
    }

    fn rows(&self, nested: bool, air: bool) -> Vec<Vec<Row<'_>>> {
        let groups = self.groups.iter().filter(|group| nested || !group.nested);
        groups
            .filter(|group| !group.entries.is_empty())
            .map(|group| {
                let head = std::iter::once(Row::Heading(&group.heading));
                let tail = air.then_some(Row::Blank);
                head.chain(group.entries.iter().map(Row::Entry)).chain(tail).collect()
            })
            .collect()
    }

    /// The rows in columns of at most `height`. A group goes on in the next column, but its heading never stands last.
    fn flow(&self, nested: bool, air: bool, height: usize) -> Vec<Vec<Row<'_>>> {
        let mut columns: Vec<Vec<Row<'_>>> = vec![Vec::new()];
        for group in self.rows(nested, air) {
            for row in group {
                let last = columns.len() - 1;
                let used = columns[last].len();
                let full = used >= height || matches!(row, Row::Heading(_)) && used + 2 > height;
                if full {
                    columns.push(Vec::new());
                }
                let column = columns.last_mut().expect("there is one");
                if !(column.is_empty() && matches!(row, Row::Blank)) {
                    column.push(row);
                }
            }
        }
        for column in &mut columns {
            while matches!(column.last(), Some(Row::Blank)) {
                column.pop();
            }
        }
        columns.retain(|column| !column.is_empty());
        columns
    }
}

enum Row<'a> {
    Heading(&'a str),
    Entry(&'a Entry),
    Blank,
}

/// Writes a row of a column, and blanks up to the next one.
fn cell(line: &mut TextLine, row: Option<&Row<'_>>, room: usize) {
    match row {
        Some(Row::Heading(heading)) => {
            let heading = text::cut_end(heading, room - 1).into_owned();
            line.push(Role::Section, &text::pad_right(&heading, room));
        }
        Some(Row::Entry(entry)) => {
            let keys = text::pad_right(&text::cut_end(&entry.keys, KEYS), KEYS + 1);
            let label = text::cut_end(&entry.label, room - KEYS - 2).into_owned();
            line.push(Role::Key, &keys);
            line.push(Role::Text, &text::pad_right(&label, room - KEYS - 1));
        }
        Some(Row::Blank) | None => line.push(Role::Text, &" ".repeat(room)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        let entry = |key: &str, label: &str| Entry {
            keys: key.to_owned(),
            label: label.to_owned(),
            doc: format!("To {label}"),
            command: format!("x.{label}"),
        };
        let group = |heading: &str, nested: bool| Group {
            heading: heading.to_owned(),
            entries: vec![entry("a", "one"), entry("b", "two"), entry("c", "three")],
            nested,
        };
        Card {
            groups: vec![group("first", false), group("second", false), group("nested", true)],
        }
    }

    #[test]
    fn it_has_as_many_columns_as_it_needs_and_no_heading_at_the_end_of_one() {
        let shown = |size| card().document(size).plain();
        let tall = shown((26, 20));
        assert!(tall.contains("nested"), "{tall}");
        let low = shown((60, 5));
        assert!(!low.contains("nested") && low.contains("second"), "{low}");
        assert!(low.lines().next().is_some_and(|line| line.contains("second")), "{low}");
        assert_eq!(low.lines().count(), 4, "{low}");
    }

    #[test]
    fn a_search_shows_whole_sentences() {
        let found = card().found("two").plain();
        assert!(found.contains("To two"), "{found}");
        assert!(!found.contains("one"), "{found}");
    }
}
