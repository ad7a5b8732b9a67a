//! A table of the visible rows: written straight into the buffer, nothing else is looked at.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::canvas::{fill, put};
use crate::text;
use crate::theme::{Role, Theme};

/// What is done with a text that is wider than its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The column goes before its text is cut: half a number is none.
    Never,
    /// The end is cut: words and messages.
    End,
    /// The middle is cut, so that the unique tail survives: names.
    Middle,
}

/// A column to lay out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Header.
    pub title: String,
    /// The header where there is no room for the whole one.
    pub brief: Option<&'static str>,
    /// Stands on the right.
    pub right: bool,
    /// Narrowest useful width, for a text that may be cut.
    pub min: u16,
    /// Width that nine in ten of its texts are content with.
    pub typical: u16,
    /// Width its widest text wants.
    pub wanted: u16,
    /// Width it may grow to where there is room to spare; 0 does not grow.
    pub most: u16,
    /// 0 stays, and is cut last; the highest goes first.
    pub rank: u8,
    /// How its text is cut.
    pub cut: Cut,
    /// Comes by itself where there is room for all of it, the lowest rank first, unless there is nothing in it.
    pub spare: bool,
}

impl ColumnSpec {
    /// A column of whole texts.
    pub fn new(title: impl Into<String>, wanted: usize, rank: u8) -> Self {
        let wanted = u16::try_from(wanted).unwrap_or(u16::MAX);
        Self {
            title: title.into(),
            brief: None,
            right: false,
            min: wanted,
            typical: wanted,
            wanted,
            most: 0,
            rank,
            cut: Cut::Never,
            spare: false,
        }
    }

    /// Its texts stand on the right.
    #[must_use]
    pub fn right(mut self) -> Self {
        self.right = true;
        self
    }

    /// Its texts may be cut to `min` columns.
    #[must_use]
    pub fn cut(mut self, cut: Cut, min: u16) -> Self {
        (self.cut, self.min) = (cut, min);
        self
    }

    fn title_width(&self) -> u16 {
        text::width(&self.title) as u16
    }

    /// With everything whole.
    fn natural(&self) -> u16 {
        self.wanted.max(self.title_width()).max(1)
    }

    /// With a short header, and texts not cut below `width`.
    fn squeezed(&self, width: u16) -> u16 {
        let title = self
            .brief
            .map_or_else(|| self.title_width(), |brief| text::width(brief) as u16);
        match self.cut {
            Cut::Never => self.wanted.max(title).max(1),
            _ => width.max(self.min).min(self.wanted).max(title.min(self.min)).max(1),
        }
    }
}

/// One cell to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct TableCell<'a> {
    /// Text.
    pub text: Cow<'a, str>,
    /// Its role over the row's style; `None` is ordinary text.
    pub role: Option<Role>,
    /// A sign before the text, in a role of its own.
    pub sign: Option<(&'static str, Role)>,
    /// Signs of a column each after the text, each in a role of its own: a strip, a bar.
    pub strip: Vec<(&'static str, Role)>,
}

impl<'a> TableCell<'a> {
    /// An ordinary text.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Self {
        Self {
            text: text.into(),
            role: None,
            sign: None,
            strip: Vec::new(),
        }
    }

    /// In a role of its own.
    #[must_use]
    pub fn role(mut self, role: Option<Role>) -> Self {
        self.role = role;
        self
    }

    /// With a sign before it.
    #[must_use]
    pub fn sign(mut self, sign: &'static str, role: Role) -> Self {
        self.sign = Some((sign, role));
        self
    }

    /// Only a strip.
    pub fn strip(strip: Vec<(&'static str, Role)>) -> Self {
        Self { strip, ..Self::new("") }
    }
}

/// One row to draw.
pub struct TableRow<'a> {
    /// Its cells.
    pub cells: Vec<TableCell<'a>>,
    /// The sign of its state: what every width keeps.
    pub spine: Option<(&'static str, Role)>,
    /// Under the cursor.
    pub cursor: bool,
    /// Marked.
    pub marked: bool,
    /// Role of the whole row's text, when it is not ordinary.
    pub role: Option<Role>,
}

/// Columns left of the first column: the cursor's bar, the spine, the mark (or the fold of a group), a blank.
pub const GUTTER: u16 = 4;
const GAP: u16 = 2;
/// So much of a name tells it from others: beyond that other columns are worth more.
const TELLING: u16 = 40;

fn total(widths: impl Iterator<Item = u16>) -> u16 {
    widths
        .fold(0u16, |sum, width| sum.saturating_add(width).saturating_add(GAP))
        .saturating_sub(GAP)
}

/// How wide the columns are that come before any to spare, with nothing cut.
pub fn natural_width(columns: &[ColumnSpec]) -> u16 {
    let firm = columns.iter().filter(|column| !column.spare);
    GUTTER.saturating_add(total(firm.map(ColumnSpec::natural)))
}

/// Decides which columns fit into `available` and how wide each is; `None` is left out.
///
/// Words and messages give way first, and headers that have a shorter form; then the columns of the highest ranks go. What has rank 0,
/// the name, is cut to what nine in ten of them need (of very long ones, to what tells them apart) before a column goes, and below that
/// only when nothing else is left. Room to spare goes to the columns that wait for it, and then to those that may grow.
pub fn fit(columns: &[ColumnSpec], available: u16) -> Vec<Option<u16>> {
    let room = available.saturating_sub(GUTTER);
    let mut shown: Vec<bool> = columns.iter().map(|column| !column.spare).collect();
    let squeezed = |at: usize| {
        let column = &columns[at];
        column.squeezed(if column.rank == 0 {
            column.typical.min(TELLING)
        } else {
            column.min
        })
    };
    let used =
        |width: &dyn Fn(usize) -> u16, shown: &[bool]| total((0..columns.len()).filter(|at| shown[*at]).map(width));
    while used(&squeezed, &shown) > room {
        let worst = (0..columns.len())
            .filter(|at| shown[*at] && columns[*at].rank > 0)
            .max_by_key(|at| (columns[*at].rank, *at));
        match worst {
            Some(at) => shown[at] = false,
            None => break,
        }
    }
    let mut widths: Vec<u16> = columns.iter().map(ColumnSpec::natural).collect();
    let ranked = |at: usize| match columns[at].rank {
        0 => columns[at].natural().min(TELLING.max(columns[at].min)),
        _ => squeezed(at),
    };
    let brief = |at: usize| match columns[at].cut {
        Cut::Never => columns[at].squeezed(0),
        _ => columns[at].natural(),
    };
    // Of a very long name only what tells it from others is worth more than a word.
    let told = |at: usize| match columns[at].rank {
        0 if columns[at].cut == Cut::Middle => brief(at).min(columns[at].min.max(TELLING)),
        _ => brief(at),
    };
    let floors: [&dyn Fn(usize) -> u16; 5] = [&brief, &told, &ranked, &squeezed, &|at| {
        columns[at].min.min(columns[at].wanted).max(1)
    }];
    for floor in floors {
        shrink(&mut widths, &shown, room, floor);
    }
    let whole = (0..columns.len()).all(|at| shown[at] || columns[at].spare);
    let mut spare: Vec<usize> = (0..columns.len())
        .filter(|at| columns[*at].spare && columns[*at].wanted > 0)
        .collect();
    spare.sort_by_key(|at| columns[*at].rank);
    for at in spare {
        shown[at] = true;
        // For the first of them headers become short, and very long names too.
        let gives: &dyn Fn(usize) -> u16 = if columns[at].rank == 0 && whole {
            &told
        } else {
            &|at| widths[at]
        };
        if used(&|at| gives(at).min(widths[at]), &shown) > room {
            shown[at] = false;
            continue;
        }
        let floor: Vec<u16> = (0..columns.len()).map(gives).collect();
        shrink(&mut widths, &shown, room, &|at| floor[at]);
    }
    for at in (0..columns.len()).filter(|at| shown[*at]) {
        let rest = room.saturating_sub(used(&|at| widths[at], &shown));
        widths[at] += rest.min(columns[at].most.saturating_sub(widths[at]));
    }
    widths
        .iter()
        .zip(&shown)
        .map(|(width, shown)| shown.then_some(*width))
        .collect()
}

/// Takes from the widest of the columns shown, none below its floor, until they fit.
fn shrink(widths: &mut [u16], shown: &[bool], room: u16, floor: &dyn Fn(usize) -> u16) {
    let used = |widths: &[u16]| {
        total(
            widths
                .iter()
                .zip(shown)
                .filter(|(_, shown)| **shown)
                .map(|(width, _)| *width),
        )
    };
    while used(widths) > room {
        let widest = (0..widths.len())
            .filter(|at| shown[*at] && widths[*at] > floor(*at))
            .max_by_key(|at| widths[*at]);
        let Some(at) = widest else { break };
        widths[at] -= 1;
    }
}

/// Where each shown column begins and ends in a table at `x`, for drawing and for the mouse.
pub fn spans(widths: &[Option<u16>], x: u16) -> impl Iterator<Item = (usize, u16, u16)> {
    let shown = widths.iter().enumerate();
    shown
        .filter_map(|(at, width)| Some((at, (*width)?)))
        .scan(x + GUTTER, |x, (at, width)| {
            let start = *x;
            *x += width + GAP;
            Some((at, start, start + width))
        })
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
    for (at, start, end) in spans(widths, area.x) {
        let column = &columns[at];
        let (role, sign) = match sorted {
            Some((sorted, sign)) if sorted == at => (Role::HeaderSorted, sign),
            _ => (Role::Header, ""),
        };
        let whole = text::width(&column.title) + text::width(sign);
        let title = match column.brief {
            Some(brief) if whole > usize::from(end - start) => brief,
            _ => &column.title,
        };
        let title = format!("{title}{sign}");
        let style = base.patch(theme.style(role));
        if column.right {
            let title = text::cut_end(&title, usize::from(end - start)).into_owned();
            let title = text::pad_left(&title, usize::from(end - start));
            put(buf, start, area.y, end.min(area.right()), &title, style);
        } else {
            put(buf, start, area.y, (end + 1).min(area.right()), &title, style);
        }
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
    }
    let gutter = [
        row.cursor.then_some((theme.signs.cursor, Role::CursorBar)),
        row.spine,
        row.marked.then_some((theme.signs.mark, Role::Mark)),
    ];
    for (x, (sign, role)) in (area.x..).zip(gutter).filter_map(|(x, sign)| Some((x, sign?))) {
        put(buf, x, area.y, area.right(), sign, style.patch(theme.style(role)));
    }
    if let Some(role) = row.role {
        style = style.patch(theme.style(role));
    }
    for (at, start, end) in spans(widths, area.x) {
        let (Some(cell), Some(column)) = (row.cells.get(at), columns.get(at)) else {
            continue;
        };
        let place = Rect {
            x: start.min(area.right()),
            width: end.min(area.right()).saturating_sub(start),
            ..area
        };
        draw_cell(place, buf, theme, column, cell, style);
    }
}

fn draw_cell(
    place: Rect,
    buf: &mut Buffer,
    theme: &Theme,
    column: &ColumnSpec,
    cell: &TableCell<'_>,
    style: ratatui::style::Style,
) {
    let (mut from, y, end) = (place.x, place.y, place.right());
    if let Some((sign, role)) = cell.sign {
        from = put(buf, from, y, end, sign, style.patch(theme.style(role)));
        from = put(buf, from, y, end, " ", style);
    }
    let strip = cell.strip.len() as u16;
    let room = usize::from(end.saturating_sub(from + strip));
    let text = if column.cut == Cut::Middle {
        text::cut_middle(&cell.text, room)
    } else {
        text::cut_end(&cell.text, room)
    };
    if column.right {
        from += (room - text::width(&text).min(room)) as u16;
    }
    let text_style = cell.role.map_or(style, |role| style.patch(theme.style(role)));
    from = put(buf, from, y, end, &text, text_style);
    for (sign, role) in &cell.strip {
        from = put(buf, from, y, end, sign, style.patch(theme.style(*role)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(wanted: usize, typical: u16) -> ColumnSpec {
        ColumnSpec {
            typical,
            ..ColumnSpec::new("NAME", wanted, 0).cut(Cut::Middle, 8)
        }
    }

    fn pods() -> [ColumnSpec; 5] {
        let restarts = ColumnSpec {
            brief: Some("R"),
            ..ColumnSpec::new("RESTARTS", 2, 3).right()
        };
        let strip = ColumnSpec {
            spare: true,
            most: 30,
            ..ColumnSpec::new("LAST", 12, 1)
        };
        [
            name(30, 24),
            ColumnSpec::new("READY", 5, 2).right(),
            ColumnSpec::new("STATUS", 17, 1).cut(Cut::End, 9),
            restarts,
            strip,
        ]
    }

    #[test]
    fn words_are_cut_before_columns_go_and_the_name_is_cut_last() {
        for (available, expected) in [
            (140, [Some(30), Some(5), Some(17), Some(8), Some(30)]),
            (86, [Some(30), Some(5), Some(17), Some(8), Some(14)]),
            (84, [Some(30), Some(5), Some(17), Some(8), Some(12)]),
            (83, [Some(30), Some(5), Some(17), Some(8), None]),
            (70, [Some(30), Some(5), Some(17), Some(8), None]),
            (60, [Some(30), Some(5), Some(13), Some(2), None]),
            (52, [Some(26), Some(5), Some(9), Some(2), None]),
            (50, [Some(24), Some(5), Some(9), Some(2), None]),
            (48, [Some(26), Some(5), Some(9), None, None]),
            (40, [Some(25), None, Some(9), None, None]),
            (30, [Some(26), None, None, None, None]),
            (12, [Some(8), None, None, None, None]),
        ] {
            assert_eq!(fit(&pods(), available), expected, "{available}");
        }
    }

    #[test]
    fn a_very_long_name_gives_way_to_words_and_headers_to_the_first_column_to_spare() {
        let mut columns = pods();
        columns[0] = name(70, 70);
        columns[4].rank = 0;
        for (available, expected) in [
            (140, [Some(70), Some(5), Some(17), Some(8), Some(26)]),
            (110, [Some(55), Some(5), Some(17), Some(5), Some(12)]),
            (92, [Some(40), Some(5), Some(17), Some(2), Some(12)]),
            (84, [Some(43), Some(5), Some(17), Some(8), None]),
            (76, [Some(40), Some(5), Some(17), Some(4), None]),
        ] {
            let widths = fit(&columns, available);
            // Whoever is wider gives first: what matters is what is whole.
            assert_eq!(widths[4].is_some(), expected[4].is_some(), "{available}: {widths:?}");
            assert_eq!(widths[2], expected[2], "{available}: {widths:?}");
            assert!(widths[0] >= Some(TELLING), "{available}: {widths:?}");
        }
    }

    #[test]
    fn a_column_to_spare_with_nothing_in_it_does_not_come() {
        let mut columns = pods();
        columns[4].wanted = 0;
        assert_eq!(fit(&columns, 200)[4], None);
    }

    #[test]
    fn a_row_keeps_inside_its_area_however_narrow() {
        let theme = Theme::load("dark", None).expect("built in");
        for width in 0..30 {
            let area = Rect::new(0, 0, width, 3);
            let mut buf = Buffer::empty(Rect::new(0, 0, 40, 3));
            let columns = [
                name(30, 30),
                ColumnSpec::new("AGE", 4, 1).right(),
                ColumnSpec::new("STRIP", 4, 2),
            ];
            let row = TableRow {
                cells: vec![
                    TableCell::new("한국어이름-abcdef").sign("●", Role::Good),
                    TableCell::new("12s"),
                    TableCell::strip(vec![("▁", Role::Good); 4]),
                ],
                spine: Some(("●", Role::Good)),
                cursor: true,
                marked: true,
                role: None,
            };
            let widths = fit(&columns, width);
            table(area, &mut buf, &theme, &columns, &widths, None, std::iter::once(row));
            for x in width..40 {
                assert_eq!(buf[(x, 1)].symbol(), " ", "width {width} column {x}");
            }
            if width > 1 {
                assert_eq!(buf[(1, 1)].symbol(), "●", "the state is there at {width}");
            }
        }
    }
}
