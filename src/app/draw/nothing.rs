//! What stands where there is no table yet: no cluster, or a first look at one.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::cluster::LinkState;
use crate::document::TextLine;
use crate::text;
use crate::theme::{Role, Theme};
use crate::view::Look;
use crate::widget::{Anchor, popup, put_line};

fn lines_at(area: Rect, buf: &mut Buffer, theme: &Theme, lines: &[TextLine]) {
    let mut y = area.y;
    for line in lines {
        let plain = line.plain();
        let single = line.spans.len() == 1;
        if single && text::width(&plain) > usize::from(area.width) {
            for piece in text::wrap(&plain, usize::from(area.width), usize::from(line.hang)) {
                if y < area.bottom() {
                    let piece = TextLine::new().with(line.spans[0].role, piece);
                    put_line(buf, area.x, y, area.right(), &piece, theme.style(Role::Text), theme);
                }
                y += 1;
            }
        } else {
            if y < area.bottom() {
                put_line(buf, area.x, y, area.right(), line, theme.style(Role::Text), theme);
            }
            y += 1;
        }
    }
}

/// What can be done while there is no cluster.
const OFFERS: &[(&str, &str, &str)] = &[
    (
        "cluster.embedded",
        "embedded",
        "start the cluster inside this program: real, offline",
    ),
    ("context.pick", "contexts", "choose another context of the kubeconfig"),
    ("cluster.retry", "retry", "try again now"),
    ("app.quit", "leave", "leave"),
];

/// Those that lead somewhere now.
pub(super) fn offers(look: &Look<'_>) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    let contexts = look.data.contexts().len();
    let here = look.data.cluster().embedded;
    // The one context that there is is the one that does not answer.
    let leads = move |action: &str| action != "context.pick" || contexts > 1 || (here && contexts > 0);
    OFFERS.iter().filter(move |(action, ..)| leads(action))
}

/// There is no cluster yet: what is being tried, why it failed, what can be done.
pub(super) fn trouble(area: Rect, buf: &mut Buffer, look: &Look<'_>) {
    let info = look.data.cluster();
    let tall = area.height > 10;
    let margin = if area.width > 60 { 4 } else { 1 };
    let inner = Rect {
        x: area.x + margin,
        y: area.y + u16::from(tall) * 2,
        width: area.width.saturating_sub(2 * margin),
        height: area.height.saturating_sub(u16::from(tall) * 2),
    };
    let mut lines = Vec::new();
    match &info.state {
        LinkState::Down(since, error) => {
            let message = format!("{} {}", look.theme.signs.failed, error.message);
            lines.push(TextLine::new().with(Role::Failed, &message).hanging(2));
            let causes = error.causes.iter().filter_map(|cause| cause.lines().next());
            lines.extend(causes.map(|cause| TextLine::new().with(Role::Text, &format!("  {cause}")).hanging(4)));
            if tall {
                lines.push(TextLine::new());
            }
            lines.extend(
                error
                    .hints
                    .iter()
                    .map(|hint| TextLine::new().with(Role::Dim, &format!("  {hint}")).hanging(4)),
            );
            let age = text::age(*since, look.data.now());
            lines.push(
                TextLine::new()
                    .with(
                        Role::Dim,
                        &format!("  it has not answered for {age}, and is tried again by itself"),
                    )
                    .hanging(4),
            );
        }
        _ => {
            let verb = if info.embedded { "starting" } else { "connecting to" };
            let message = format!("{} {verb} {} ...", look.theme.signs.progress, info.name);
            lines.push(TextLine::new().with(Role::Progress, &message).hanging(2));
            if info.embedded {
                return lines_at(inner, buf, look.theme, &lines);
            }
        }
    }
    if tall {
        lines.push(TextLine::new());
    }
    for (action, _, words) in offers(look) {
        let key = text::pad_right(&look.key(action), 4);
        let words = text::cut_end(words, usize::from(inner.width.saturating_sub(6)));
        lines.push(
            TextLine::new()
                .with(Role::Text, "  ")
                .with(Role::Key, &key)
                .with(Role::Text, &words),
        );
    }
    lines_at(inner, buf, look.theme, &lines);
}

/// Three keys to try, beside the living cluster; gone for good after the first of them.
pub(super) fn welcome(area: Rect, buf: &mut Buffer, look: &Look<'_>) {
    let row = |action: &str, word: &str| {
        let key = text::pad_right(&look.key(action), 4);
        TextLine::new().with(Role::Key, &key).with(Role::Text, word)
    };
    let lines = [
        TextLine::new().with(Role::Text, "This is a whole Kubernetes cluster, inside this"),
        TextLine::new().with(Role::Text, "program, offline. Three keys to try:"),
        TextLine::new(),
        row("pod.run", "run an image (kuard, nginx, busybox ...)"),
        row("object.describe", "describe what the cursor is on"),
        row("help.open", "every key that works here"),
    ];
    let (width, height) = (52, lines.len() as u16 + 2);
    if area.width < width + 8 || area.height < height + 6 {
        return;
    }
    let place = Rect {
        x: area.right() - width - 6,
        y: area.bottom() - height - 1,
        width: width + 4,
        height,
    };
    let title = TextLine::new().with(Role::PopupTitle, "welcome to knarr");
    let inner = popup(place, buf, look.theme, Anchor::Centre, (width, height - 2), &title);
    for (at, line) in lines.iter().enumerate() {
        put_line(
            buf,
            inner.x,
            inner.y + at as u16,
            inner.right(),
            line,
            look.theme.style(Role::Popup),
            look.theme,
        );
    }
}
