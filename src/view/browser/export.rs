//! A table written down: as CSV for sheets, as JSON for programs. What is shown is what is written, in its order.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Browser;
use crate::keys::Line;
use crate::store::{Cell, Listing, Row};
use crate::view::{Format, Reply};

impl Browser {
    /// The rows that the filter keeps, in their order, to a new file or to the clipboard.
    pub(super) fn export(&self, listing: &Listing, format: Format, path: Option<&str>, now: Timestamp) -> Reply {
        let text = match format {
            Format::Csv => self.csv(listing, now),
            Format::Json => self.json(listing, now),
        };
        Reply::Run(match path {
            Some(path) => Line::with("file.save", [path.to_owned(), text]),
            None => Line::with("clipboard.set", [text]),
        })
    }

    fn titles(&self) -> impl Iterator<Item = &str> {
        let namespace = Some("NAMESPACE").filter(|_| self.resource.namespaced);
        let columns = self.columns.iter().map(|column| &*column.title);
        let labels = self.label_columns.iter().map(String::as_str);
        namespace.into_iter().chain(columns).chain(labels)
    }

    /// The cells under the titles; numbers stay numbers.
    fn values<'a>(&'a self, row: &'a Row, now: Timestamp) -> impl Iterator<Item = Value> + 'a {
        let namespace = Some(Value::from(&*row.id.namespace)).filter(|_| self.resource.namespaced);
        let cells = row.cells.iter().take(self.columns.len()).map(move |cell| match cell {
            Cell::Empty => Value::Null,
            Cell::Int(number) | Cell::Counted(number, _) => Value::from(*number),
            // A moment is of more use than how long ago it was when the table was written.
            Cell::Age(moment) => Value::from(moment.to_string()),
            cell => Value::from(cell.show(now).into_owned()),
        });
        let labels = self
            .label_columns
            .iter()
            .map(|key| row.label(key).map_or(Value::Null, Value::from));
        namespace.into_iter().chain(cells).chain(labels)
    }

    fn csv(&self, listing: &Listing, now: Timestamp) -> String {
        let mut text = String::new();
        csv_line(&mut text, self.titles().map(str::to_owned));
        for row in listing.iter() {
            csv_line(
                &mut text,
                self.values(row, now).map(|value| match value {
                    Value::Null => String::new(),
                    Value::String(text) => text,
                    other => other.to_string(),
                }),
            );
        }
        text
    }

    fn json(&self, listing: &Listing, now: Timestamp) -> String {
        let rows = listing.iter().map(|row| {
            let fields = self.titles().map(str::to_lowercase).zip(self.values(row, now));
            Value::Object(fields.collect::<Map<_, _>>())
        });
        let mut text = serde_json::to_string_pretty(&rows.collect::<Vec<_>>()).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// A record as RFC 4180 has it, but for the end of the line. What a sheet would take for a formula begins with an apostrophe.
fn csv_line(text: &mut String, fields: impl Iterator<Item = String>) {
    for (at, field) in fields.enumerate() {
        if at > 0 {
            text.push(',');
        }
        let field = match field.starts_with(['=', '+', '@', '\t'])
            || field.starts_with('-') && field.len() > 1 && field.parse::<f64>().is_err()
        {
            true => format!("'{field}"),
            false => field,
        };
        if field.contains([',', '"', '\n', '\r']) {
            text.push('"');
            text.push_str(&field.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(&field);
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be_and_are_no_formulas() {
        let mut text = String::new();
        let fields = ["plain", "a,b", "say \"x\"", "=cmd()", "-1", "-x", ""];
        csv_line(&mut text, fields.map(str::to_owned).into_iter());
        assert_eq!(text, "plain,\"a,b\",\"say \"\"x\"\"\",'=cmd(),-1,'-x,\n");
    }
}
