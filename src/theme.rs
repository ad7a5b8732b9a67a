//! Colours as data: a [`Theme`] gives every [`Role`] a style.
//!
//! Themes are TOML: a `[palette]` of named colours and `[roles]` that use them. A theme may `inherits` another, and the user's own
//! files in the configuration directory come before the built-in ones. Views name roles, never colours.

use std::collections::BTreeMap;
use std::path::Path;

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

macro_rules! roles {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// What a piece of the screen means. Each theme gives every role a style.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Role { $(#[doc = $doc] $variant,)* }

        impl Role {
            /// Every role, in declaration order.
            pub const ALL: &[Role] = &[$(Role::$variant,)*];

            /// The dotted name used in theme files.
            pub const fn name(self) -> &'static str {
                match self { $(Role::$variant => $name,)* }
            }

            /// What it is for.
            pub const fn doc(self) -> &'static str {
                match self { $(Role::$variant => $doc,)* }
            }
        }
    };
}

roles! {
    Text "ui.text" "Ordinary text and the background of the screen.",
    Dim "ui.dim" "Secondary text: units, hints, what can be ignored.",
    Strong "ui.strong" "Names and headings.",
    Accent "ui.accent" "Where the user is: active tab, current namespace, title.",
    Rule "ui.rule" "Rules between panes and sections.",
    Bar "ui.bar" "The lines of chrome at the top and the bottom.",
    Key "ui.key" "A key that can be pressed.",
    Header "ui.header" "Column headers.",
    HeaderSorted "ui.header.sorted" "The header of the sorted column.",
    Cursor "ui.cursor" "Tint of the row under the cursor.",
    CursorBar "ui.cursor.bar" "The bar left of the row under the cursor.",
    Mark "ui.mark" "The gutter sign of a marked row.",
    Changed "ui.changed" "A row that changed within the last second.",
    Match "ui.match" "Text that matches the search or filter.",
    MatchCurrent "ui.match.current" "The match the cursor is on.",
    Popup "ui.popup" "Body of popups and dialogs.",
    PopupTitle "ui.popup.title" "Title of popups and dialogs.",
    Input "ui.input" "Text the user types.",
    Selected "ui.selected" "The chosen entry of a list in a popup.",
    Danger "ui.danger" "What destroys something.",
    Protected "ui.protected" "The name of a context where every change is asked for.",
    Scrollbar "ui.scrollbar" "Where one is in a long table or text.",
    GaugeRest "ui.gauge.rest" "The free part of a bar.",
    Good "state.good" "Healthy.",
    Progress "state.progress" "On its way.",
    Warning "state.warning" "Needs a look.",
    Failed "state.failed" "Broken.",
    Done "state.done" "Finished as it should.",
    Calm "state.calm" "The line of what has been healthy.",
    Unknown "state.unknown" "Not known.",
    Section "text.section" "Section headings in describe.",
    Field "text.key" "Keys in describe and YAML.",
    Value "text.value" "Values in describe and YAML.",
    String "text.string" "Strings in YAML and JSON.",
    Number "text.number" "Numbers.",
    Literal "text.literal" "true, false and null.",
    Comment "text.comment" "Comments and notes.",
    DiffAdd "diff.add" "Added lines.",
    DiffRemove "diff.remove" "Removed lines.",
    LogTime "log.time" "Timestamps of log lines.",
    LogError "log.error" "Log lines that report an error.",
    LogWarning "log.warning" "Log lines that warn.",
    Source0 "log.source.0" "First colour that tells log sources apart.",
    Source1 "log.source.1" "Second colour that tells log sources apart.",
    Source2 "log.source.2" "Third colour that tells log sources apart.",
    Source3 "log.source.3" "Fourth colour that tells log sources apart.",
    Source4 "log.source.4" "Fifth colour that tells log sources apart.",
    Source5 "log.source.5" "Sixth colour that tells log sources apart.",
}

/// Signs beside the colours, so that nothing is said by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Healthy.
    pub good: &'static str,
    /// On its way.
    pub progress: &'static str,
    /// Needs a look.
    pub warning: &'static str,
    /// Broken.
    pub failed: &'static str,
    /// Finished.
    pub done: &'static str,
    /// Not known.
    pub unknown: &'static str,
    /// The bar of the cursor row.
    pub cursor: &'static str,
    /// A marked row.
    pub mark: &'static str,
    /// Between the parts of a path.
    pub step: &'static str,
    /// Ascending sort.
    pub ascending: &'static str,
    /// Descending sort.
    pub descending: &'static str,
    /// A vertical rule.
    pub vertical: &'static str,
    /// A horizontal rule.
    pub horizontal: &'static str,
    /// Heights from the lowest to the whole cell.
    pub levels: [&'static str; 8],
    /// A used and a free part of a bar.
    pub gauge: [&'static str; 2],
    /// The thumb of a scrollbar.
    pub scroll: &'static str,
}

const UNICODE: Signs = Signs {
    good: "●",
    progress: "◐",
    warning: "▲",
    failed: "✗",
    done: "✓",
    unknown: "○",
    cursor: "▌",
    mark: "◆",
    step: "▸",
    ascending: "↑",
    descending: "↓",
    vertical: "│",
    horizontal: "─",
    levels: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    gauge: ["▰", "▱"],
    scroll: "▐",
};

const ASCII: Signs = Signs {
    good: "*",
    progress: "~",
    warning: "!",
    failed: "x",
    done: "+",
    unknown: "?",
    cursor: ">",
    mark: "#",
    step: ">",
    ascending: "^",
    descending: "v",
    vertical: "|",
    horizontal: "-",
    levels: ["_", "_", ".", "-", "-", "=", "^", "#"],
    gauge: ["=", "."],
    scroll: "#",
};

/// Every role resolved to a style, and the signs.
#[derive(Clone, Debug)]
pub struct Theme {
    /// File name without `.toml`.
    pub name: String,
    /// The signs beside the colours.
    pub signs: Signs,
    styles: Vec<Style>,
    screen: Style,
    colours: Colours,
}

/// Which colours the terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    All,
    Indexed,
    None,
}

/// Every theme that comes with the program: a theme is its file in `themes/` and its name in this list.
macro_rules! built_in {
    ($($name:literal)*) => {
        const BUILT_IN: &[(&str, &str)] = &[$(($name, include_str!(concat!("../themes/", $name, ".toml"))),)*];
    };
}

built_in! {
    "dark" "light" "contrast" "contrast-light" "fjord" "fjord-light" "ember" "ember-light"
    "dusk" "dawn" "terminal"
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    inherits: Option<String>,
    palette: BTreeMap<String, String>,
    roles: BTreeMap<String, Spec>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Spec {
    Fg(String),
    Full(FullSpec),
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
struct FullSpec {
    fg: Option<String>,
    bg: Option<String>,
    mods: Vec<String>,
}

impl Theme {
    /// Names of the built-in themes.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Loads a theme by name: `DIRECTORY/NAME.toml` when it exists, else the built-in one.
    pub fn load(name: &str, directory: Option<&Path>) -> Result<Self> {
        let mut layers = Vec::new();
        let mut next = Some(name.to_owned());
        while let Some(current) = next {
            if layers.len() > 8 {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("theme {name:?} inherits in a circle"),
                ));
            }
            let file = read(&current, directory)?;
            next = file.inherits.clone();
            layers.push(file);
        }
        Self::resolve(name, &layers)
    }

    fn resolve(name: &str, layers: &[File]) -> Result<Self> {
        let mut palette = BTreeMap::new();
        let mut specs = BTreeMap::new();
        for file in layers.iter().rev() {
            palette.extend(file.palette.clone());
            specs.extend(file.roles.clone());
        }
        let known: Vec<&str> = Role::ALL.iter().map(|role| role.name()).collect();
        if let Some(wrong) = specs.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("theme {name:?} styles an unknown role {wrong:?}"),
            )
            .hint("`knarr info --roles` lists the roles"));
        }
        let colour = |text: &str| -> Result<Color> {
            let text = palette.get(text).map_or(text, String::as_str);
            text.parse().map_err(|_| {
                Error::new(
                    ErrorKind::Config,
                    format!("theme {name:?} uses {text:?}, which is no colour"),
                )
                .hint("write a palette name, #rrggbb, an ANSI name, or 0-255")
            })
        };
        let mut styles = Vec::with_capacity(Role::ALL.len());
        for role in Role::ALL {
            let full = match specs.get(role.name()) {
                None => {
                    return Err(Error::new(
                        ErrorKind::Config,
                        format!("theme {name:?} lacks the role {:?}", role.name()),
                    )
                    .hint("add it, or inherit a built-in theme: inherits = \"dark\""));
                }
                Some(Spec::Fg(fg)) => FullSpec {
                    fg: Some(fg.clone()),
                    ..FullSpec::default()
                },
                Some(Spec::Full(full)) => full.clone(),
            };
            let mut style = Style::default();
            if let Some(fg) = &full.fg {
                style = style.fg(colour(fg)?);
            }
            if let Some(bg) = &full.bg {
                style = style.bg(colour(bg)?);
            }
            for modifier in &full.mods {
                style = style.add_modifier(parse_modifier(modifier).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Config,
                        format!("theme {name:?} uses {modifier:?}, which is no modifier"),
                    )
                    .hint("modifiers are bold, dim, italic, underlined, reversed, crossed-out")
                })?);
            }
            styles.push(style);
        }
        // Ordinary text lies on whatever is below it: only the screen itself is filled with the background.
        let screen = styles[Role::Text as usize];
        styles[Role::Text as usize].bg = None;
        Ok(Self {
            name: name.to_owned(),
            signs: UNICODE,
            styles,
            screen,
            colours: Colours::All,
        })
    }

    /// Without any colour (`NO_COLOR`): modifiers carry what colours did; signs and words carry the meaning.
    #[must_use]
    pub fn without_colour(mut self) -> Self {
        for (role, style) in Role::ALL.iter().zip(&mut self.styles) {
            let mut modifiers = style.add_modifier;
            modifiers |= match role {
                Role::Cursor | Role::Selected | Role::Match | Role::MatchCurrent => Modifier::REVERSED,
                Role::Failed | Role::Danger | Role::Header | Role::Section => Modifier::BOLD,
                Role::Changed | Role::DiffAdd => Modifier::UNDERLINED,
                _ => Modifier::empty(),
            };
            *style = Style::default().add_modifier(modifiers);
        }
        self.screen = Style::default();
        self.colours = Colours::None;
        self
    }

    /// With the signs, and in the colours, that another theme is shown in: the terminal stays the same when themes change.
    #[must_use]
    pub fn shown_as(self, other: &Self) -> Self {
        let mut theme = match other.colours {
            Colours::All => self,
            Colours::Indexed => self.indexed(),
            Colours::None => self.without_colour(),
        };
        theme.signs = other.signs;
        theme
    }

    /// In the 256 colours of a terminal that knows no others: each colour becomes the nearest of the cube and the greys.
    #[must_use]
    pub fn indexed(mut self) -> Self {
        self.colours = Colours::Indexed;
        let ground = self.screen.bg;
        for style in self.styles.iter_mut().chain([&mut self.screen]) {
            let below = style.bg.or(ground).map(|below| (below, nearest(below, None)));
            style.fg = style.fg.map(|fg| nearest(fg, below));
            style.bg = style.bg.map(|bg| nearest(bg, None));
        }
        self
    }

    /// With signs every terminal font has.
    #[must_use]
    pub fn ascii(mut self) -> Self {
        self.signs = ASCII;
        self
    }

    /// The style of a role.
    pub fn style(&self, role: Role) -> Style {
        self.styles[role as usize]
    }

    /// Ordinary text with the background of the screen: what an empty screen is filled with.
    pub fn screen(&self) -> Style {
        self.screen
    }

    /// The role of a log source: stable for one number.
    pub fn source_role(number: usize) -> Role {
        const SOURCES: [Role; 6] = [
            Role::Source0,
            Role::Source1,
            Role::Source2,
            Role::Source3,
            Role::Source4,
            Role::Source5,
        ];
        SOURCES[number % SOURCES.len()]
    }
}

fn read(name: &str, directory: Option<&Path>) -> Result<File> {
    let own = directory
        .map(|directory| directory.join(format!("{name}.toml")))
        .filter(|path| path.is_file());
    let (text, origin) = match (&own, BUILT_IN.iter().find(|(known, _)| *known == name)) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Error::new(ErrorKind::Config, format!("cannot read the theme {}", path.display())).because(&error)
            })?;
            (text, path.display().to_string())
        }
        (None, Some((_, text))) => ((*text).to_owned(), format!("built-in {name}")),
        (None, None) => {
            let names: Vec<_> = Theme::built_in().collect();
            return Err(
                Error::new(ErrorKind::Config, format!("there is no theme {name:?}")).hint(format!(
                    "choose one of {}, or put {name}.toml into the themes directory",
                    names.join(", ")
                )),
            );
        }
    };
    toml::from_str(&text)
        .map_err(|error| Error::new(ErrorKind::Config, format!("the theme {origin} cannot be parsed")).because(&error))
}

/// Steps of one component in the colour cube.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The colour of a cell of the cube (16 to 231) or of a grey (232 to 255).
fn of_index(index: u8) -> (u8, u8, u8) {
    if index >= 232 {
        let grey = 8 + 10 * (index - 232);
        return (grey, grey, grey);
    }
    let at = index - 16;
    let step = |digit: u8| CUBE[usize::from(digit % 6)];
    (step(at / 36), step(at / 6), step(at))
}

fn rgb(colour: Color) -> Option<(u8, u8, u8)> {
    match colour {
        Color::Rgb(r, g, b) => Some((r, g, b)),
        Color::Indexed(index) if index >= 16 => Some(of_index(index)),
        _ => None,
    }
}

/// The contrast ratio of WCAG 2; none where the terminal decides what a colour is.
fn contrast(a: Color, b: Color) -> Option<f64> {
    let luminance = |(r, g, b): (u8, u8, u8)| {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.039_28 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    };
    let (a, b) = (luminance(rgb(a)?), luminance(rgb(b)?));
    Some((a.max(b) + 0.05) / (a.min(b) + 0.05))
}

/// The nearest of the 240 fixed colours. `below` is what it lies on, and what has become of that: it can be told from the one as well as
/// the colour from the other, as far as text needs.
fn nearest(colour: Color, below: Option<(Color, Color)>) -> Color {
    let Color::Rgb(r, g, b) = colour else { return colour };
    let off = |a: u8, b: u8| (i32::from(a) - i32::from(b)).pow(2);
    let distance = |index: &u8| {
        let (x, y, z) = of_index(*index);
        off(r, x) * 3 + off(g, y) * 4 + off(b, z) * 2
    };
    let least = below
        .and_then(|(below, _)| contrast(colour, below))
        .unwrap_or(0.0)
        .min(4.5);
    let told_apart = |index: &u8| {
        let ratio = below.and_then(|(_, below)| contrast(Color::Indexed(*index), below));
        ratio.is_none_or(|ratio| ratio >= least)
    };
    (16..=255)
        .filter(told_apart)
        .min_by_key(distance)
        .map_or(colour, Color::Indexed)
}

fn parse_modifier(text: &str) -> Option<Modifier> {
    Some(match text {
        "bold" => Modifier::BOLD,
        "dim" => Modifier::DIM,
        "italic" => Modifier::ITALIC,
        "underlined" => Modifier::UNDERLINED,
        "reversed" => Modifier::REVERSED,
        "crossed-out" => Modifier::CROSSED_OUT,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_theme_styles_every_role() {
        for name in Theme::built_in() {
            let theme = Theme::load(name, None).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(theme.styles.len(), Role::ALL.len());
        }
    }

    /// What may lie below text.
    const GROUNDS: [Role; 5] = [Role::Bar, Role::Cursor, Role::Popup, Role::Selected, Role::PopupTitle];
    /// What is no text: lines and the free part of a bar.
    const NO_TEXT: [Role; 4] = [Role::Rule, Role::Calm, Role::Scrollbar, Role::GaugeRest];

    #[test]
    fn every_text_can_be_read_on_everything_below_it_in_every_theme() {
        // The terminal theme's colours are the user's own.
        for name in Theme::built_in().filter(|name| *name != "terminal") {
            let least = if name.starts_with("contrast") { 7.0 } else { 4.5 };
            let theme = Theme::load(name, None).expect("built in");
            let screen = theme.screen().bg.expect("a background");
            let grounds = GROUNDS.iter().filter_map(|role| theme.style(*role).bg).chain([screen]);
            let grounds: Vec<Color> = grounds.collect();
            for role in Role::ALL.iter().filter(|role| !NO_TEXT.contains(role)) {
                let style = theme.style(*role);
                let Some(fg) = style.fg else { continue };
                let own = style.bg.map(|bg| vec![bg]);
                for ground in own.as_ref().unwrap_or(&grounds) {
                    let ratio = contrast(fg, *ground).expect("colours of their own");
                    assert!(ratio >= least, "{name}: {} on {ground} has {ratio:.2}", role.name());
                }
            }
            let calm = contrast(theme.style(Role::Calm).fg.expect("a colour"), screen);
            assert!(calm.is_some_and(|ratio| ratio >= 3.0), "{name}");
        }
    }

    #[test]
    fn on_256_colours_text_can_still_be_read() {
        for name in Theme::built_in().filter(|name| *name != "terminal") {
            let theme = Theme::load(name, None).expect("built in").indexed();
            let screen = theme.screen().bg.expect("a background");
            assert!(matches!(screen, Color::Indexed(16..)), "{name}");
            for role in [
                Role::Text,
                Role::Dim,
                Role::Good,
                Role::Failed,
                Role::Warning,
                Role::Accent,
            ] {
                let fg = theme.style(role).fg.or(theme.screen().fg).expect("a colour");
                let ratio = contrast(fg, screen);
                assert!(
                    ratio.is_some_and(|ratio| ratio >= 4.5),
                    "{name}: {} {fg} {screen}",
                    role.name()
                );
            }
        }
        for (colour, index) in [((0, 0, 0), 16), ((255, 0, 0), 196), ((8, 8, 8), 232)] {
            assert_eq!(nearest(colour.into(), None), Color::Indexed(index));
        }
    }

    #[test]
    fn a_user_theme_inherits_and_overrides() {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::write(
            dir.path().join("mine.toml"),
            "inherits = \"dark\"\n[roles]\n\"ui.accent\" = \"#ff0000\"\n",
        )
        .expect("write");
        let theme = Theme::load("mine", Some(dir.path())).expect("loads");
        assert_eq!(theme.style(Role::Accent).fg, Some(Color::Rgb(255, 0, 0)));
        assert_eq!(
            theme.style(Role::Good),
            Theme::load("dark", None).expect("dark").style(Role::Good)
        );
    }

    #[test]
    fn mistakes_in_a_theme_are_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let fails = |text: &str| {
            std::fs::write(dir.path().join("bad.toml"), text).expect("write");
            Theme::load("bad", Some(dir.path())).expect_err("refused").to_string()
        };
        assert!(fails("inherits = \"dark\"\n[roles]\n\"ui.nope\" = \"red\"").contains("ui.nope"));
        assert!(fails("inherits = \"dark\"\n[roles]\n\"ui.text\" = \"reddish\"").contains("reddish"));
        assert!(fails("inherits = \"bad\"").contains("circle"));
        assert!(fails("[roles").contains("cannot be parsed"));
        assert!(
            Theme::load("missing", None)
                .expect_err("refused")
                .to_string()
                .contains("dark")
        );
    }

    #[test]
    fn no_colour_leaves_no_colour() {
        let theme = Theme::load("dark", None).expect("dark").without_colour();
        let theme = Theme::load("light", None).expect("light").shown_as(&theme);
        assert!(
            Role::ALL
                .iter()
                .all(|role| theme.style(*role).fg.is_none() && theme.style(*role).bg.is_none())
        );
        assert!(theme.style(Role::Cursor).add_modifier.contains(Modifier::REVERSED));
    }
}
