//! A table of the visible rows: written straight into the buffer, nothing else is looked at.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::canvas::{fill, put};
use crate::text;
use crate::theme::{Role, Theme};

/// A column to lay out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Header.
    pub title: String,
    /// Stands on the right.
    pub right: bool,
    /// Narrowest useful width.
    pub min: u16,
    /// Width its widest text wants.
    pub wanted: u16,
    /// 0 stays; the highest goes first.
    pub rank: u8,
    /// May be cut to its minimum: names and messages, not states and numbers.
    pub elastic: bool,
    /// Cut in the middle instead of at the end (names).
    pub middle: bool,
}

/// One cell to draw.
pub struct TableCell<'a> {
    /// Text.
    pub text: Cow<'a, str>,
    /// What is shown instead where the text does not fit.
    pub short: Option<String>,
    /// Its role over the row's style; `None` is ordinary text.
    pub role: Option<Role>,
    /// A sign before the text, in a role of its own.
    pub sign: Option<(&'static str, Role)>,
}

/// One row to draw.
pub struct TableRow<'a> {
    /// Its cells.
    pub cells: Vec<TableCell<'a>>,
    /// Under the cursor.
    pub cursor: bool,
    /// Marked.
    pub marked: bool,
    /// Role of the whole row's text, when it is not ordinary.
    pub role: Option<Role>,
}

/// Columns left of the first column: the cursor's bar, the mark, a blank.
pub const GUTTER: u16 = 3;
const GAP: u16 = 2;

/// How wide a table is that cuts nothing.
pub fn natural_width(columns: &[ColumnSpec]) -> u16 {
    let widths = columns.iter().filter(|column| column.rank != u8::MAX).map(|column| {
        let title = text::width(&column.title) as u16;
        column.wanted.max(title).max(1) + GAP
    });
    widths.fold(GUTTER, u16::saturating_add).saturating_sub(GAP)
}

/// Decides which columns fit into `available` and how wide each is; `None` is left out.
///
/// Texts that may be cut (names, messages) give way first, the widest of them; then the columns of the highest ranks go; only
/// when nothing else is left do states and numbers shrink.
pub fn fit(columns: &[ColumnSpec], available: u16) -> Vec<Option<u16>> {
    let room = available.saturating_sub(GUTTER);
    let title = |column: &ColumnSpec| text::width(&column.title) as u16;
    let natural = |column: &ColumnSpec| column.wanted.max(title(column)).max(1);
    let least = |column: &ColumnSpec| match column.elastic {
        true => column.min.min(column.wanted).max(title(column)).max(1),
        false => natural(column),
    };
    let mut shown: Vec<bool> = vec![true; columns.len()];
    let total = |widths: &dyn Fn(usize) -> u16, shown: &[bool]| -> u16 {
        let sum = (0..columns.len()).filter(|at| shown[*at]).map(|at| widths(at) + GAP);
        sum.fold(0u16, u16::saturating_add).saturating_sub(GAP)
    };
    while total(&|at| least(&columns[at]), &shown) > room {
        let worst = (0..columns.len())
            .filter(|at| shown[*at] && columns[*at].rank > 0)
            .max_by_key(|at| (columns[*at].rank, *at));
        match worst {
            Some(at) => shown[at] = false,
            None => break,
        }
    }
    let mut widths: Vec<u16> = columns.iter().map(natural).collect();
    for floor in [&least as &dyn Fn(&ColumnSpec) -> u16, &|column| {
        column.min.min(column.wanted).max(1)
    }] {
        loop {
            let used = total(&|at| widths[at], &shown);
            let widest = (0..columns.len())
                .filter(|at| shown[*at] && widths[*at] > floor(&columns[*at]))
                .max_by_key(|at| widths[*at]);
            match widest {
                Some(at) if used > room => widths[at] -= 1,
                _ => break,
            }
        }
    }
    widths
        .iter()
        .zip(&shown)
        .map(|(width, shown)| shown.then_some(*width))
        .collect()
}

/// Draws the header and the rows. `widths` come from [`fit`]; `sorted` is the sorted column and its sign.
pub fn table<'a>(
    area: Rect,
    buf: &mut Buffer,
    theme: &Theme,
    columns: &[ColumnSpec],
    widths: &[Option<u16>],
    sorted: Option<(usize, &str)>,
    rows: impl Iterator<Item = TableRow<'a>>,
) {
    if area.height == 0 {
        return;
    }
    let base = theme.style(Role::Text);
    let mut x = area.x + GUTTER;
    for (at, column) in columns.iter().enumerate() {
        let Some(width) = widths.get(at).copied().flatten() else {
            continue;
        };
        let (role, sign) = match sorted {
            Some((sorted, sign)) if sorted == at => (Role::HeaderSorted, sign),
            _ => (Role::Header, ""),
        };
        let title = format!("{}{sign}", column.title);
        let title = if column.right {
            let title = text::cut_end(&title, usize::from(width)).into_owned();
            text::pad_left(&title, usize::from(width))
        } else {
            title
        };
        let end = (x + width + u16::from(!column.right) * GAP.min(1)).min(area.right());
        put(buf, x, area.y, end, &title, base.patch(theme.style(role)));
        x += width + GAP;
    }
    for (line, row) in rows.take(usize::from(area.height) - 1).enumerate() {
        let y = area.y + 1 + line as u16;
        draw_row(Rect { y, height: 1, ..area }, buf, theme, columns, widths, &row);
    }
}

fn draw_row(
    area: Rect,
    buf: &mut Buffer,
    theme: &Theme,
    columns: &[ColumnSpec],
    widths: &[Option<u16>],
    row: &TableRow<'_>,
) {
    let mut style = theme.style(Role::Text);
    if row.cursor {
        style = style.patch(theme.style(Role::Cursor));
        fill(buf, area, style);
        put(
            buf,
            area.x,
            area.y,
            area.right(),
            theme.signs.cursor,
            style.patch(theme.style(Role::CursorBar)),
        );
    }
    if row.marked {
        put(
            buf,
            area.x + 1,
            area.y,
            area.right(),
            theme.signs.mark,
            style.patch(theme.style(Role::Mark)),
        );
    }
    if let Some(role) = row.role {
        style = style.patch(theme.style(role));
    }
    let mut x = area.x + GUTTER;
    for (at, cell) in row.cells.iter().enumerate() {
        let Some(width) = widths.get(at).copied().flatten() else {
            continue;
        };
        let (right, middle) = columns
            .get(at)
            .map_or((false, false), |column| (column.right, column.middle));
        let end = (x + width).min(area.right());
        let mut from = x;
        if let Some((sign, role)) = cell.sign {
            from = put(buf, from, area.y, end, sign, style.patch(theme.style(role)));
            from = put(buf, from, area.y, end, " ", style);
        }
        let room = usize::from(end.saturating_sub(from));
        let whole = match &cell.short {
            Some(short) if text::width(&cell.text) > room => short,
            _ => &*cell.text,
        };
        let text = if middle {
            text::cut_middle(whole, room)
        } else {
            text::cut_end(whole, room)
        };
        let text_style = cell.role.map_or(style, |role| style.patch(theme.style(role)));
        if right {
            from += (room - text::width(&text).min(room)) as u16;
        }
        put(buf, from, area.y, end, &text, text_style);
        x += width + GAP;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(title: &str, min: u16, wanted: u16, rank: u8) -> ColumnSpec {
        ColumnSpec {
            title: title.into(),
            right: false,
            min,
            wanted,
            rank,
            elastic: rank == 0,
            middle: rank == 0,
        }
    }

    #[test]
    fn the_least_important_columns_go_first() {
        let columns = [
            column("NAME", 10, 30, 0),
            column("STATUS", 6, 12, 3),
            column("AGE", 4, 4, 1),
        ];
        assert_eq!(fit(&columns, 80), [Some(30), Some(12), Some(4)]);
        // The name gives way before a state is cut; then the state goes as a whole.
        assert_eq!(fit(&columns, 36), [Some(13), Some(12), Some(4)]);
        assert_eq!(fit(&columns, 30), [Some(21), None, Some(4)]);
        assert_eq!(fit(&columns, 22), [Some(13), None, Some(4)]);
        assert_eq!(fit(&columns, 5).iter().flatten().count(), 1);
    }

    #[test]
    fn a_row_keeps_inside_its_area_however_narrow() {
        let theme = Theme::load("dark", None).expect("built in");
        for width in 0..30 {
            let area = Rect::new(0, 0, width, 3);
            let mut buf = Buffer::empty(Rect::new(0, 0, 40, 3));
            let columns = [column("NAME", 10, 30, 0), column("AGE", 4, 4, 1)];
            let row = TableRow {
                cells: vec![
                    TableCell {
                        text: "한국어이름-abcdef".into(),
                        short: None,
                        role: None,
                        sign: Some(("●", Role::Good)),
                    },
                    TableCell {
                        text: "12s".into(),
                        short: None,
                        role: None,
                        sign: None,
                    },
                ],
                cursor: true,
                marked: true,
                role: None,
            };
            table(
                area,
                &mut buf,
                &theme,
                &columns,
                &fit(&columns, width),
                None,
                std::iter::once(row),
            );
            for x in width..40 {
                assert_eq!(buf[(x, 1)].symbol(), " ", "width {width} column {x}");
            }
        }
    }
}
