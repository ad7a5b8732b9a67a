//! The log view: follows, pauses, filters; a million lines cost a screenful.

mod line;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use jiff::tz::TimeZone;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

pub(super) use self::line::push_line;

use self::line::Matcher;
use super::{Data, Input, Look, Motion, MouseKind, Reply, Target, View, ViewCommand, not_here};
use crate::cluster::ClusterId;
use crate::document::{Document, TextLine};
use crate::error::Result;
use crate::keys::{Line, Scope};
use crate::session::{LogLine, LogSnapshot, LogSpec, SessionId, Status};
use crate::text;
use crate::theme::{Role, Theme};
use crate::widget::{Pager, PagerState, put, scrollbar, scrolled_to};

/// Bytes of text that are looked through at a time, between keys: about a millisecond.
const SLICE: usize = 256 << 10;

/// Around no line.
const NOTHING: (u64, u64) = (u64::MAX, 0);

/// The lines of a log session.
#[derive(Debug)]
pub struct Logs {
    id: SessionId,
    spec: LogSpec,
    /// The pods, by identity.
    targets: Vec<Target>,
    snapshot: Arc<LogSnapshot>,
    /// Number of the last visible line; `None` follows.
    anchor: Option<u64>,
    filter: String,
    matcher: Matcher,
    /// Lines before and after one that matches that are shown with it.
    context: u64,
    /// Numbers of the lines that the filter shows, as far as they have been looked at: from the newest back, so that what is on the
    /// screen is there at once.
    matches: VecDeque<u64>,
    scanned: Range<u64>,
    /// The lines from the first number on, and before the second, are around one that matches.
    around: (u64, u64),
    /// Lines before this number are hidden (`logs.clear`).
    cleared: u64,
    timestamps: bool,
    wrap: bool,
    /// Columns scrolled to the right while lines are not wrapped.
    left: usize,
    area: Rect,
}

impl Logs {
    /// A view of the log session `id`, of containers of the pods `targets`.
    pub fn new(id: SessionId, spec: LogSpec, targets: Vec<Target>) -> Self {
        Self {
            id,
            spec,
            targets,
            snapshot: Arc::default(),
            anchor: None,
            filter: String::new(),
            matcher: Matcher::All,
            context: 0,
            matches: VecDeque::new(),
            scanned: 0..0,
            around: NOTHING,
            cleared: 0,
            timestamps: false,
            wrap: true,
            left: 0,
            area: Rect::new(0, 0, 80, 24),
        }
    }

    fn line(&self, number: u64) -> Option<&LogLine> {
        self.snapshot
            .get(usize::try_from(number.checked_sub(self.snapshot.first)?).ok()?)
    }

    fn start(&self) -> u64 {
        self.snapshot.first.max(self.cleared)
    }

    fn end(&self) -> u64 {
        self.snapshot.first + self.snapshot.len() as u64
    }

    /// How many lines are shown by the filter.
    fn count(&self) -> usize {
        match self.matcher {
            Matcher::All => usize::try_from(self.end().saturating_sub(self.start())).unwrap_or(usize::MAX),
            _ => self.matches.len(),
        }
    }

    /// The number of the shown line at `index`.
    fn nth(&self, index: usize) -> Option<u64> {
        match self.matcher {
            Matcher::All => Some(self.start() + index as u64).filter(|number| *number < self.end()),
            _ => self.matches.get(index).copied(),
        }
    }

    /// Where among the shown lines `number` is, or the one before it.
    fn index_of(&self, number: u64) -> usize {
        match self.matcher {
            Matcher::All => usize::try_from(number.saturating_sub(self.start())).unwrap_or(0),
            _ => self.matches.partition_point(|known| *known <= number).saturating_sub(1),
        }
    }

    /// Looks at the lines that came since the last time.
    fn scan(&mut self) {
        if matches!(self.matcher, Matcher::All) {
            return;
        }
        let start = self.start();
        let gone = self.matches.partition_point(|number| *number < start);
        self.matches.drain(..gone);
        for number in self.scanned.end.max(start)..self.end() {
            if self.line(number).is_some_and(|line| self.matcher.keeps(&line.text)) {
                let next = self.matches.back().map_or(start, |last| last + 1);
                self.matches
                    .extend(next.max(number.saturating_sub(self.context)).max(start)..=number);
                self.around.1 = number + 1 + self.context;
            } else if number < self.around.1 {
                self.matches.push_back(number);
            }
        }
        self.scanned.end = self.end();
    }

    /// Looks at some older lines; whether there are more.
    fn look_back(&mut self) -> bool {
        if matches!(self.matcher, Matcher::All) {
            return false;
        }
        let mut looked = 0;
        while looked < SLICE && self.scanned.start > self.start() {
            self.scanned.start -= 1;
            let Some(line) = self.line(self.scanned.start) else {
                continue;
            };
            // An empty line costs something as well.
            looked += line.text.len() + 16;
            let number = self.scanned.start;
            if self.matcher.keeps(&line.text) {
                let last = (number + self.context).min(self.end().saturating_sub(1));
                self.around.0 = number.saturating_sub(self.context);
                self.around.1 = self.around.1.max(number + 1 + self.context);
                (number..=last).rev().for_each(|number| self.show_before(number));
            } else if number >= self.around.0 {
                self.show_before(number);
            }
        }
        self.scanned.start > self.start()
    }

    /// Shows a line before those that are shown already.
    fn show_before(&mut self, number: u64) {
        if self.matches.front().is_none_or(|first| number < *first) {
            self.matches.push_front(number);
        }
    }

    /// The lines that the filter leaves, all of them.
    fn kept(&mut self) -> impl Iterator<Item = &LogLine> {
        while self.look_back() {}
        let all: &Self = self;
        (0..all.count()).filter_map(move |at| all.line(all.nth(at)?))
    }

    /// Looks at all lines again, the newest first: what is shown of them is another.
    fn rescan(&mut self) {
        self.matches.clear();
        (self.scanned, self.around) = (self.end()..self.end(), NOTHING);
        self.look_back();
    }

    fn bottom(&self) -> usize {
        match self.anchor {
            Some(number) => self.index_of(number).min(self.count().saturating_sub(1)),
            None => self.count().saturating_sub(1),
        }
    }

    fn scroll(&mut self, rows: isize) {
        let least = usize::from(self.area.height)
            .saturating_sub(1)
            .min(self.count().saturating_sub(1));
        self.scroll_to(self.bottom().saturating_add_signed(rows).max(least));
    }

    /// Makes a line the last one that is seen; the last of all follows.
    fn scroll_to(&mut self, target: usize) {
        self.anchor = if target + 1 >= self.count() {
            None
        } else {
            self.nth(target)
        };
    }

    fn styled(&self, line: &LogLine) -> TextLine {
        let mut out = TextLine::new();
        if self.spec.sources.len() > 1
            && let Some(source) = self.spec.sources.get(usize::from(line.source))
        {
            let name = match &source.container {
                Some(container) => format!("{}/{container} ", text::cut_middle(&source.pod, 24)),
                None => format!("{} ", text::cut_middle(&source.pod, 32)),
            };
            out.push(Theme::source_role(usize::from(line.source)), &name);
        }
        if let (true, Some(time)) = (self.timestamps, line.time) {
            out.push(
                Role::LogTime,
                &format!(
                    "{} ",
                    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f")
                ),
            );
        }
        let hang = text::width(&out.plain());
        match self.context == 0 || self.matcher.keeps(&line.text) {
            true => push_line(&mut out, &line.text),
            false => out.push(Role::Dim, &line.text),
        }
        out.hanging(hang.max(2))
    }

    fn target_name(&self) -> String {
        match self.spec.sources.as_slice() {
            [one] => match &one.container {
                Some(container) if **container != *one.pod => format!("{}/{container}", one.pod),
                _ => one.pod.to_string(),
            },
            many => text::count(many.len(), "container"),
        }
    }
}

impl View for Logs {
    fn title(&self) -> String {
        format!("logs:{}", self.target_name())
    }

    fn crumbs(&self) -> Vec<String> {
        let mut crumbs: Vec<String> = self
            .spec
            .sources
            .first()
            .map(|source| source.namespace.to_string())
            .into_iter()
            .collect();
        crumbs.extend([
            self.target_name(),
            if self.spec.previous {
                "previous logs".into()
            } else {
                "logs".into()
            },
        ]);
        crumbs
    }

    fn status(&self, data: &dyn Data) -> String {
        let mut parts = vec![text::count(self.count(), "line")];
        if !matches!(self.matcher, Matcher::All) {
            let all = usize::try_from(self.end().saturating_sub(self.start())).unwrap_or(usize::MAX);
            parts[0] = format!("{} of {}", self.count(), text::count(all, "line"));
        } else if self.spec.tail.is_some_and(|tail| self.end() >= tail) {
            parts[0] = format!("the last {}", parts[0]);
        }
        if self.snapshot.first > 0 {
            parts.push(format!("{} older dropped", self.snapshot.first));
        }
        if !self.filter.is_empty() {
            parts.push(format!("/{}", self.filter));
            parts.extend((self.context > 0).then(|| format!("and {} around", self.context)));
        }
        if let Some(anchor) = self.anchor {
            parts.push(format!(
                "paused, {} below",
                self.count().saturating_sub(self.index_of(anchor) + 1)
            ));
        } else if self.spec.follow {
            parts.push(match data.session(self.id).map(|info| info.status) {
                Some(Status::Ended(_)) => "ended".into(),
                Some(Status::Retrying(error)) => format!("waiting: {}", text::cut_end(&error.message, 60)),
                Some(Status::Failed(_)) => "failed".into(),
                _ => "following".into(),
            });
        }
        parts.join("  ")
    }

    fn scopes(&self) -> Vec<Scope> {
        vec!["logs"]
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("view.back", "back"),
            ("logs.follow", "pause/follow"),
            ("filter.open", "filter"),
            ("logs.context", "context"),
            ("logs.previous", "previous"),
            ("logs.container", "container"),
            ("logs.timestamps", "times"),
            ("text.wrap", "wrap"),
            ("logs.save", "save"),
            ("text.copy", "copy"),
        ]
    }

    fn targets(&self, _data: &dyn Data) -> Vec<Target> {
        self.targets.clone()
    }

    fn cluster(&self) -> Option<ClusterId> {
        self.spec.sources.first().map(|source| source.cluster)
    }

    fn sync(&mut self, data: &dyn Data) {
        if let Some(snapshot) = data.log(self.id) {
            self.snapshot = snapshot;
            self.scan();
        }
    }

    fn selectable(&self, area: Rect) -> Option<Rect> {
        Some(Rect {
            x: area.x + 1,
            width: area.width.saturating_sub(2),
            ..area
        })
    }

    fn work(&mut self, _data: &dyn Data) -> bool {
        self.look_back()
    }

    fn layout(&mut self, area: Rect, _data: &dyn Data) -> Reply {
        self.area = area;
        Reply::Done
    }

    fn on(&mut self, input: &Input, _data: &dyn Data) -> Reply {
        match input {
            Input::Mouse(mouse) if mouse.kind == MouseKind::WheelDown => self.scroll(3),
            Input::Mouse(mouse) if mouse.kind == MouseKind::WheelUp => self.scroll(-3),
            Input::Mouse(mouse) if mouse.holds() && mouse.column + 1 >= self.area.right() => {
                let top = scrolled_to(self.area, mouse.row, self.count());
                self.scroll_to(top + usize::from(self.area.height).max(1) - 1);
            }
            _ => return Reply::Ignored,
        }
        Reply::Done
    }

    fn command(&mut self, command: &ViewCommand, data: &dyn Data) -> Result<Reply> {
        let page = usize::from(self.area.height).max(2) - 1;
        match command {
            ViewCommand::Move(motion) => match (motion.lines(page), motion) {
                (Some(lines), _) => self.scroll(lines),
                (None, Motion::Last) => self.anchor = None,
                (None, Motion::Left) => self.left = self.left.saturating_sub(8),
                // Wrapped lines are whole: there is nothing beside them.
                (None, Motion::Right) => self.left += if self.wrap { 0 } else { 8 },
                (None, _) => self.scroll(isize::MIN / 2),
            },
            ViewCommand::Follow => {
                self.anchor = match self.anchor {
                    Some(_) => None,
                    None => self.nth(self.count().saturating_sub(1)),
                };
            }
            ViewCommand::Timestamps => self.timestamps = !self.timestamps,
            ViewCommand::Context => {
                self.context = match self.context {
                    0 => 3,
                    3 => 10,
                    _ => 0,
                };
                self.rescan();
            }
            ViewCommand::Wrap => {
                self.wrap = !self.wrap;
                self.left = 0;
            }
            ViewCommand::Clear => {
                self.cleared = self.end();
                self.anchor = None;
                self.scan();
            }
            // The filter shows nothing but matches: the next one is the next line.
            ViewCommand::SearchNext => self.scroll(1),
            ViewCommand::SearchPrevious => self.scroll(-1),
            ViewCommand::Filter(text) | ViewCommand::Search(text) => {
                self.matcher = Matcher::parse(text)?;
                self.filter.clone_from(text);
                self.anchor = None;
                self.sync(data);
                self.rescan();
            }
            ViewCommand::Previous => {
                let flag: &[&str] = if self.spec.previous { &[] } else { &["--previous"] };
                return Ok(Reply::Run(self.again(flag, None)));
            }
            ViewCommand::Container => return Ok(Reply::Run(Line::with("logs.reopen", ["--pick"]))),
            ViewCommand::Save(path) => {
                let name = format!("{}.log", self.target_name().replace('/', "-"));
                let path = path.clone().unwrap_or(name);
                let timestamps = self.timestamps;
                let content = self.kept().fold(String::new(), |mut all, line| {
                    if let (true, Some(time)) = (timestamps, line.time) {
                        all.push_str(&format!("{time} "));
                    }
                    all.push_str(&line.text);
                    all.push('\n');
                    all
                });
                return Ok(Reply::Run(Line::with("file.save", [path, content])));
            }
            ViewCommand::Copy => {
                let content: Vec<&str> = self.kept().map(|line| &*line.text).collect();
                return Ok(Reply::Run(Line::with("clipboard.set", [content.join("\n")])));
            }
            _ => return Err(not_here("this")),
        }
        Ok(Reply::Done)
    }

    fn search(&self) -> &str {
        &self.filter
    }

    fn sessions(&self) -> Vec<SessionId> {
        vec![self.id]
    }

    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let inner = Rect {
            x: area.x + 1,
            width: area.width.saturating_sub(2),
            ..area
        };
        if self.count() == 0 {
            return self.draw_empty(inner, buf, look);
        }
        let mut lines = Vec::new();
        let mut index = self.bottom();
        // A screenful of lines is enough whether they wrap or not.
        for _ in 0..area.height {
            if let Some(line) = self.nth(index).and_then(|number| self.line(number)) {
                lines.push(self.styled(line));
            }
            match index.checked_sub(1) {
                Some(before) => index = before,
                None => break,
            }
        }
        lines.reverse();
        let document = Document { lines };
        let search = match &self.matcher {
            Matcher::Text(text, true) => text.clone(),
            _ => String::new(),
        };
        let mut state = PagerState {
            wrap: self.wrap,
            left: self.left,
            search,
            size: (inner.width, inner.height),
            ..PagerState::new()
        };
        state.last(&document);
        Pager {
            document: &document,
            state: &state,
        }
        .draw(inner, buf, look.theme);
        let top = (self.bottom() + 1).saturating_sub(usize::from(area.height));
        scrollbar(area, buf, look.theme, top, self.count());
    }
}

impl Logs {
    /// The line that opens this log again, otherwise.
    fn again(&self, flags: &[&str], container: Option<&str>) -> Line {
        let mut args: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let source = &self.spec.sources[0];
        if let Some(container) = container.or(source.container.as_deref()) {
            args.push(format!("--container={container}"));
        }
        Line {
            name: "logs.reopen".into(),
            args,
        }
    }

    fn draw_empty(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let base = look.theme.style(Role::Text);
        let (role, lines): (Role, Vec<String>) = match look.data.session(self.id).map(|info| info.status) {
            Some(Status::Failed(error)) => {
                let mut lines = vec![format!("{} {}", look.theme.signs.failed, error.line())];
                lines.extend(error.hints);
                (Role::Failed, lines)
            }
            Some(Status::Retrying(error)) => (
                Role::Progress,
                vec![format!("{} {}", look.theme.signs.progress, error.line())],
            ),
            _ if !self.filter.is_empty() => {
                let hint = format!("{} clears the filter", look.key("view.back"));
                (Role::Dim, vec![format!("no line matches {}", self.filter), hint])
            }
            Some(Status::Opening) => (
                Role::Dim,
                vec![format!("{} opening the log ...", look.theme.signs.progress)],
            ),
            _ => (Role::Dim, vec!["no log lines yet".into()]),
        };
        let mut y = area.y + 1.min(area.height.saturating_sub(1));
        for line in lines {
            for piece in text::wrap(&text::clean(&line), usize::from(area.width.saturating_sub(4)).max(8), 2) {
                if y < area.bottom() {
                    put(
                        buf,
                        area.x + 2,
                        y,
                        area.right(),
                        piece,
                        base.patch(look.theme.style(role)),
                    );
                }
                y += 1;
            }
        }
    }
}
