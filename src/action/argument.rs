//! Arguments of commands, typed. Checks, completion, usage lines and the reference are all made from them.

use crate::error::{Error, Result};
use crate::keys::Line;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A kind by any of its names.
    Kind,
    /// A namespace.
    Namespace,
    /// A context of the kubeconfig.
    Context,
    /// A label selector, set-based or not.
    Selector,
    /// A field selector.
    Fields,
    /// A filter or a text to search for.
    Filter,
    /// A column of the table.
    Column,
    /// The key of a label.
    LabelKey,
    /// `KEY=VALUE` sets, `KEY-` removes.
    Label,
    /// A whole number.
    Number,
    /// `LOCAL:PORT`, or one number for both.
    Ports,
    /// A container of the pod.
    Container,
    /// A theme.
    Theme,
    /// A keymap.
    Keymap,
    /// A file or a directory.
    Path,
    /// The name of an object to be made.
    Name,
    /// A container image.
    Image,
    /// The name of a command, with its arguments.
    Command,
    /// A session by its number.
    Session,
    /// A web page.
    Url,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Anything.
    Text,
}

impl Type {
    /// How usage lines call it.
    pub fn name(self) -> String {
        match self {
            Type::Kind => "KIND",
            Type::Namespace => "NAMESPACE",
            Type::Context => "CONTEXT",
            Type::Selector => "SELECTOR",
            Type::Fields => "FIELDS",
            Type::Filter => "/FILTER",
            Type::Column => "COLUMN",
            Type::LabelKey => "KEY",
            Type::Label => "KEY=VALUE|KEY-",
            Type::Number => "N",
            Type::Ports => "LOCAL:PORT",
            Type::Container => "CONTAINER",
            Type::Theme => "THEME",
            Type::Keymap => "KEYMAP",
            Type::Path => "PATH",
            Type::Name => "NAME",
            Type::Image => "IMAGE",
            Type::Command => "COMMAND",
            Type::Session => "ID",
            Type::Url => "URL",
            Type::Choice(words) => return words.join("|"),
            Type::Text => "TEXT",
        }
        .to_owned()
    }
}

/// One argument of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// `--force`, `-l`; `None` stands by its place.
    pub flag: Option<&'static str>,
    /// What its value is; a bare flag has none.
    pub value: Option<Type>,
    /// Whether the command means nothing without it.
    pub required: bool,
    /// Whether any number may follow.
    pub many: bool,
    /// Written by dialogs and views, not by people: usage lines leave it out.
    pub hidden: bool,
}

impl Argument {
    const fn of(flag: Option<&'static str>, value: Option<Type>) -> Self {
        Self {
            flag,
            value,
            required: false,
            many: false,
            hidden: false,
        }
    }

    /// A value that must be there.
    pub const fn required(value: Type) -> Self {
        let mut argument = Self::of(None, Some(value));
        argument.required = true;
        argument
    }

    /// A value that may be left out.
    pub const fn optional(value: Type) -> Self {
        Self::of(None, Some(value))
    }

    /// Any number of values.
    pub const fn many(value: Type) -> Self {
        let mut argument = Self::of(None, Some(value));
        argument.many = true;
        argument
    }

    /// A flag without a value.
    pub const fn flag(flag: &'static str) -> Self {
        Self::of(Some(flag), None)
    }

    /// A flag with a value.
    pub const fn option(flag: &'static str, value: Type) -> Self {
        Self::of(Some(flag), Some(value))
    }

    /// `-- WORDS...`: taken as they are.
    pub const fn verbatim() -> Self {
        Self::of(Some("--"), Some(Type::Text))
    }

    /// Left out of usage lines.
    #[must_use]
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Whether any text will do, flags included.
    fn is_free(&self) -> bool {
        self.many && matches!(self.value, Some(Type::Text | Type::Filter | Type::Command))
    }

    fn usage(&self) -> String {
        let value = self.value.map(Type::name);
        let text = match (self.flag, value) {
            (Some("--"), _) => "-- COMMAND...".to_owned(),
            (Some(flag), Some(value)) if flag.starts_with("--") => format!("{flag}={value}"),
            (Some(flag), Some(value)) => format!("{flag} {value}"),
            (Some(flag), None) => flag.to_owned(),
            (None, value) => value.unwrap_or_default(),
        };
        match (self.required, self.many) {
            (true, _) => text,
            (false, false) => format!("[{text}]"),
            (false, true) => format!("[{text}]..."),
        }
    }
}

/// `KIND [NAMESPACE] [-l SELECTOR]`: the arguments as help shows them.
pub fn usage(arguments: &[Argument]) -> String {
    let shown = arguments.iter().filter(|argument| !argument.hidden);
    shown.map(Argument::usage).collect::<Vec<_>>().join(" ")
}

/// The argument a word belongs to.
pub enum Place<'a> {
    /// The value of this one.
    Value(&'a Argument),
    /// A flag, and the part of the word that is its value, if any.
    Flag(&'a Argument, Option<&'a str>),
    /// After `--`: taken as it is.
    Verbatim,
    /// Nothing the command takes.
    Unknown,
}

/// Where each word of a line belongs, in order.
pub fn places<'a>(arguments: &'a [Argument], words: &'a [String]) -> Vec<Place<'a>> {
    let mut places = Vec::with_capacity(words.len());
    let mut positional = arguments.iter().filter(|argument| argument.flag.is_none()).peekable();
    let mut last: Option<&Argument> = None;
    let mut waiting: Option<&Argument> = None;
    let mut verbatim = false;
    for word in words {
        let next = last
            .filter(|argument| argument.many)
            .or_else(|| positional.peek().copied());
        let place = if verbatim {
            Place::Verbatim
        } else if let Some(argument) = next.filter(|argument| argument.is_free() && waiting.is_none()) {
            last = Some(argument);
            Place::Value(argument)
        } else if let Some(argument) = waiting.take() {
            Place::Value(argument)
        } else if word == "--" {
            verbatim = true;
            Place::Verbatim
        } else if let Some(place) = flag(arguments, word) {
            if let Place::Flag(argument, None) = place {
                waiting = argument.value.map(|_| argument);
            }
            place
        } else if is_flag(word) {
            Place::Unknown
        } else {
            match next {
                Some(argument) => {
                    if !last.is_some_and(|last| last.many) {
                        positional.next();
                    }
                    last = Some(argument);
                    Place::Value(argument)
                }
                None => Place::Unknown,
            }
        };
        places.push(place);
    }
    places
}

fn is_flag(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-') && !word[1..].starts_with(|ch: char| ch.is_ascii_digit())
}

fn flag<'a>(arguments: &'a [Argument], word: &'a str) -> Option<Place<'a>> {
    arguments
        .iter()
        .find_map(|argument| match word.strip_prefix(argument.flag?)? {
            "" => Some(Place::Flag(argument, None)),
            rest => argument
                .value
                .and(rest.strip_prefix('='))
                .map(|value| Place::Flag(argument, Some(value))),
        })
}

/// Refuses what the command does not take, and says what it needs.
///
/// # Errors
///
/// A flag or a word too many, a number that is none.
pub fn check(name: &str, arguments: &[Argument], line: &Line) -> Result<()> {
    let refused = |what: String| Err(Error::usage(what).hint(format!("usage: {name} {}", usage(arguments))));
    for (word, place) in line.args.iter().zip(places(arguments, &line.args)) {
        match place {
            Place::Unknown if is_flag(word) => return refused(format!("{name} has no flag {word}")),
            Place::Unknown => return refused(format!("{name} does not know what to do with {word:?}")),
            Place::Value(Argument {
                flag: None,
                value: Some(Type::Number),
                ..
            }) if word.parse::<u32>().is_err() => return refused(format!("{word:?} is not a number")),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGUMENTS: &[Argument] = &[
        Argument::required(Type::Kind),
        Argument::optional(Type::Namespace),
        Argument::option("-l", Type::Selector),
        Argument::option("--cascade", Type::Choice(&["orphan", "background"])),
        Argument::flag("--force"),
        Argument::flag("--yes").hidden(),
    ];

    #[test]
    fn usage_is_made_from_the_arguments() {
        assert_eq!(
            usage(ARGUMENTS),
            "KIND [NAMESPACE] [-l SELECTOR] [--cascade=orphan|background] [--force]"
        );
    }

    #[test]
    fn what_a_command_does_not_take_is_refused() {
        let checked = |text: &str| check("open", ARGUMENTS, &Line::parse(text).expect("a line"));
        for good in [
            "open pods",
            "open pods web -l app=x --force",
            "open --cascade=orphan pods",
            "open pods --yes",
        ] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("open pods web third", "\"third\""),
            ("open pods --forc", "no flag --forc"),
            ("open pods --force=yes", "no flag --force=yes"),
        ] {
            let error = checked(bad).expect_err(bad);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
