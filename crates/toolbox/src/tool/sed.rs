//! `sed`: the stream editor.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};

use regex::{Captures, Regex, RegexBuilder};

use crate::say::{fail, out, reason};

/// Steps one input line may take: a script that loops for ever ends.
const MAX_STEPS: u64 = 100_000_000;

enum Address {
    Line(u64),
    Last,
    Match(Option<Regex>),
    Step(u64, u64),
}

enum Limit {
    None,
    To(Address),
    Plus(u64),
}

struct Command {
    from: Option<Address>,
    to: Limit,
    negate: bool,
    action: Action,
    /// Inside its range until this line, or until its end matches.
    active: Active,
}

#[derive(Clone, Copy, PartialEq)]
enum Active {
    No,
    Yes,
    Until(u64),
}

enum Action {
    Open(usize),
    Close,
    Label,
    Substitute {
        regex: Option<Regex>,
        with: String,
        global: bool,
        nth: usize,
        print: bool,
        file: Option<String>,
    },
    Translate(HashMap<char, char>),
    Text(char, String),
    Branch(char, Option<usize>),
    Quit(i32, bool),
    File(char, String),
    Simple(char),
}

struct Options {
    quiet: bool,
    extended: bool,
    in_place: Option<String>,
    separate: bool,
}

pub(crate) fn main(args: &[String]) -> i32 {
    let mut options = Options {
        quiet: false,
        extended: false,
        in_place: None,
        separate: false,
    };
    let mut script: Vec<String> = Vec::new();
    let mut files = Vec::new();
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--" => files.extend(rest.by_ref().cloned()),
            "--quiet" | "--silent" => options.quiet = true,
            "--regexp-extended" => options.extended = true,
            "--expression" => script.extend(rest.next().cloned()),
            long if long.starts_with("--expression=") => script.push(long["--expression=".len()..].to_owned()),
            long if long.starts_with("--in-place") => {
                options.in_place = Some(long.trim_start_matches("--in-place").trim_start_matches('=').to_owned())
            }
            long if long.starts_with("--") => return fail("sed", format!("unrecognized option '{long}'")),
            word if word.len() > 1 && word.starts_with('-') => {
                for (i, letter) in word.char_indices().skip(1) {
                    let tail = &word[i + 1..];
                    let mut value = || {
                        if tail.is_empty() {
                            rest.next().cloned().unwrap_or_default()
                        } else {
                            tail.to_owned()
                        }
                    };
                    match letter {
                        'n' => options.quiet = true,
                        'E' | 'r' => options.extended = true,
                        's' => options.separate = true,
                        'u' | 'z' => {}
                        'i' => {
                            options.in_place = Some(tail.to_owned());
                            break;
                        }
                        'e' => {
                            script.push(value());
                            break;
                        }
                        'f' => {
                            let path = value();
                            match std::fs::read_to_string(&path) {
                                Ok(text) => script.push(text.trim_end_matches('\n').to_owned()),
                                Err(error) => return fail("sed", format!("{path}: {}", reason(&error))),
                            }
                            break;
                        }
                        other => return fail("sed", format!("invalid option -- '{other}'")),
                    }
                }
            }
            word => files.push(word.to_owned()),
        }
    }
    if script.is_empty() {
        if files.is_empty() {
            return fail("sed", "usage: sed [-nEi] [-e CMD] [-f FILE] [CMD] [FILE]...");
        }
        script.push(files.remove(0));
    }
    let commands = match parse(&script.join("\n"), options.extended) {
        Ok(commands) => commands,
        Err(message) => return fail("sed", message),
    };
    run(commands, &options, &files)
}

struct Parser {
    chars: Vec<char>,
    pos: usize,
    extended: bool,
    open: Vec<usize>,
    labels: HashMap<String, usize>,
    jumps: Vec<(usize, String)>,
}

fn parse(text: &str, extended: bool) -> Result<Vec<Command>, String> {
    let mut parser = Parser {
        chars: text.chars().collect(),
        pos: 0,
        extended,
        open: Vec::new(),
        labels: HashMap::new(),
        jumps: Vec::new(),
    };
    let mut commands: Vec<Command> = Vec::new();
    loop {
        parser.skip(|c| c.is_whitespace() || c == ';');
        let Some(c) = parser.peek() else { break };
        if c == '#' {
            parser.skip(|c| c != '\n');
            continue;
        }
        let command = parser.command(commands.len())?;
        if matches!(command.action, Action::Close) {
            let start = parser.open.pop().ok_or("unexpected '}'")?;
            let end = commands.len();
            if let Some(Command {
                action: Action::Open(to),
                ..
            }) = commands.get_mut(start)
            {
                *to = end;
            }
        }
        commands.push(command);
    }
    if !parser.open.is_empty() {
        return Err("unmatched '{'".to_owned());
    }
    for (index, label) in std::mem::take(&mut parser.jumps) {
        let target = parser
            .labels
            .get(&label)
            .copied()
            .ok_or_else(|| format!("can't find label for jump to '{label}'"))?;
        if let Some(Command {
            action: Action::Branch(_, to),
            ..
        }) = commands.get_mut(index)
        {
            *to = Some(target);
        }
    }
    Ok(commands)
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.pos).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += 1;
        Some(c)
    }

    fn skip(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.pos += 1;
        }
    }

    fn number(&mut self) -> u64 {
        let start = self.pos;
        self.skip(|c| c.is_ascii_digit());
        self.chars[start..self.pos]
            .iter()
            .collect::<String>()
            .parse()
            .unwrap_or(0)
    }

    fn address(&mut self) -> Result<Option<Address>, String> {
        Ok(Some(match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                let first = self.number();
                if self.peek() == Some('~') {
                    self.pos += 1;
                    Address::Step(first, self.number())
                } else {
                    Address::Line(first)
                }
            }
            Some('$') => {
                self.pos += 1;
                Address::Last
            }
            Some(c @ ('/' | '\\')) => {
                self.pos += 1;
                let end = if c == '\\' {
                    self.next().ok_or("unterminated address regex")?
                } else {
                    '/'
                };
                let text = self.delimited(end).ok_or("unterminated address regex")?;
                let fold = self.peek() == Some('I');
                self.pos += usize::from(fold);
                Address::Match(self.regex(&text, fold)?)
            }
            _ => return Ok(None),
        }))
    }

    /// Text up to an unescaped delimiter, which is read too.
    fn delimited(&mut self, end: char) -> Option<String> {
        let mut text = String::new();
        let mut in_class = false;
        loop {
            let c = self.next()?;
            match c {
                '\\' => {
                    let next = self.next()?;
                    if next != end {
                        text.push('\\');
                    }
                    text.push(next);
                }
                '[' if end != '[' => {
                    in_class = true;
                    text.push(c);
                }
                ']' => {
                    in_class = false;
                    text.push(c);
                }
                c if c == end && !(in_class && self.class_closes()) => return Some(text),
                c => text.push(c),
            }
        }
    }

    /// Whether the bracket that is open closes before the next delimiter: then a slash in it is a slash.
    fn class_closes(&self) -> bool {
        self.chars[self.pos..]
            .iter()
            .find(|c| matches!(c, ']' | '/'))
            .is_some_and(|c| *c == ']')
    }

    /// `None`: the empty expression, which repeats the last one used.
    fn regex(&self, text: &str, fold: bool) -> Result<Option<Regex>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let source = if self.extended {
            super::grep::from_extended(text)
        } else {
            super::grep::from_basic(text)
        };
        let regex = RegexBuilder::new(&source)
            .case_insensitive(fold)
            .size_limit(8 << 20)
            .build();
        regex.map(Some).map_err(|_| format!("bad regex '{text}'"))
    }

    fn command(&mut self, index: usize) -> Result<Command, String> {
        let from = self.address()?;
        let mut to = Limit::None;
        if from.is_some() {
            self.skip(|c| c == ' ');
            if self.peek() == Some(',') {
                self.pos += 1;
                self.skip(|c| c == ' ');
                if self.peek() == Some('+') {
                    self.pos += 1;
                    to = Limit::Plus(self.number());
                } else {
                    to = Limit::To(self.address()?.ok_or("unexpected ','")?);
                }
            }
        }
        self.skip(|c| c == ' ' || c == '\t');
        let negate = self.peek() == Some('!');
        if negate {
            self.pos += 1;
            self.skip(|c| c == ' ' || c == '!');
        }
        let c = self.next().ok_or("missing command")?;
        let action = match c {
            '{' => {
                self.open.push(index);
                Action::Open(0)
            }
            '}' => Action::Close,
            ':' => {
                let label = self.word();
                self.labels.insert(label, index);
                Action::Label
            }
            's' => self.substitute()?,
            'y' => {
                let end = self.next().ok_or("unterminated 'y' command")?;
                let (a, b) = (self.delimited(end), self.delimited(end));
                let (Some(a), Some(b)) = (a, b) else {
                    return Err("unterminated 'y' command".to_owned());
                };
                let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
                if a.len() != b.len() {
                    return Err("strings for 'y' command are different lengths".to_owned());
                }
                Action::Translate(a.into_iter().zip(b).collect())
            }
            'a' | 'i' | 'c' => Action::Text(c, self.text()),
            'b' | 't' | 'T' => {
                let label = self.word();
                if !label.is_empty() {
                    self.jumps.push((index, label));
                }
                Action::Branch(c, None)
            }
            'q' | 'Q' => {
                self.skip(|c| c == ' ');
                Action::Quit(i32::try_from(self.number()).unwrap_or(0), c == 'q')
            }
            'r' | 'w' => {
                self.skip(|c| c == ' ');
                let start = self.pos;
                self.skip(|c| c != '\n');
                Action::File(c, self.chars[start..self.pos].iter().collect())
            }
            'd' | 'D' | 'g' | 'G' | 'h' | 'H' | 'l' | 'n' | 'N' | 'p' | 'P' | 'x' | '=' => Action::Simple(c),
            other => return Err(format!("unsupported command {other}")),
        };
        Ok(Command {
            from,
            to,
            negate,
            action,
            active: Active::No,
        })
    }

    fn word(&mut self) -> String {
        self.skip(|c| c == ' ');
        let start = self.pos;
        self.skip(|c| !c.is_whitespace() && c != ';' && c != '}');
        self.chars[start..self.pos].iter().collect()
    }

    fn text(&mut self) -> String {
        self.skip(|c| c == ' ' || c == '\t');
        if self.peek() == Some('\\') {
            self.pos += 1;
            self.skip(|c| c == ' ' || c == '\t');
            if self.peek() == Some('\n') {
                self.pos += 1;
            }
        }
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                '\n' => break,
                '\\' => match self.next() {
                    Some('t') => text.push('\t'),
                    Some(next) => text.push(next),
                    None => {}
                },
                c => text.push(c),
            }
        }
        text + "\n"
    }

    fn substitute(&mut self) -> Result<Action, String> {
        let end = self.next().ok_or("unterminated 's' command")?;
        let pattern = self.delimited(end).ok_or("unterminated 's' command")?;
        let mut with = String::new();
        loop {
            let c = self.next().ok_or("unterminated 's' command")?;
            if c == end {
                break;
            }
            with.push(c);
            if c == '\\' {
                let next = self.next().ok_or("unterminated 's' command")?;
                if next == end {
                    with.pop();
                }
                with.push(next);
            }
        }
        let (mut global, mut nth, mut print, mut fold, mut file) = (false, 0, false, false, None);
        while let Some(c) = self.peek() {
            match c {
                'g' => global = true,
                'p' => print = true,
                'i' | 'I' => fold = true,
                'm' | 'M' | 'e' => {}
                'w' => {
                    self.pos += 1;
                    file = Some(self.word());
                    break;
                }
                c if c.is_ascii_digit() => {
                    nth = usize::try_from(self.number()).unwrap_or(0);
                    continue;
                }
                _ => break,
            }
            self.pos += 1;
        }
        Ok(Action::Substitute {
            regex: self.regex(&pattern, fold)?,
            with,
            global,
            nth,
            print,
            file,
        })
    }
}

struct Machine<'a> {
    options: &'a Options,
    files: std::slice::Iter<'a, String>,
    input: Option<Box<dyn BufRead>>,
    ahead: Option<String>,
    number: u64,
    space: String,
    hold: String,
    append: Vec<u8>,
    output: Option<(String, Vec<u8>)>,
    last_regex: Option<Regex>,
    /// Whether the line that was read last ended with a line end.
    ended: bool,
    status: i32,
}

fn run(mut commands: Vec<Command>, options: &Options, files: &[String]) -> i32 {
    let stdin = ["-".to_owned()];
    let list = if files.is_empty() { &stdin[..] } else { files };
    let mut machine = Machine {
        options,
        files: list.iter(),
        input: None,
        ahead: None,
        number: 0,
        space: String::new(),
        hold: String::new(),
        append: Vec::new(),
        output: None,
        last_regex: None,
        ended: true,
        status: 0,
    };
    machine.fill();
    let mut keep = false;
    while keep || machine.next_line() {
        keep = false;
        match machine.cycle(&mut commands) {
            End::Next => {}
            End::Restart => keep = true,
            End::Quit(code) => {
                machine.copy_rest();
                machine.close();
                return code;
            }
        }
    }
    machine.close();
    machine.status
}

enum End {
    Next,
    /// `D`: again without reading.
    Restart,
    Quit(i32),
}

impl Machine<'_> {
    /// Reads one line ahead: to know which line is the last.
    fn fill(&mut self) {
        loop {
            if let Some(input) = &mut self.input {
                let mut line = Vec::new();
                match input.take(256 << 20).read_until(b'\n', &mut line) {
                    Ok(n) if n > 0 => {
                        self.ahead = Some(String::from_utf8_lossy(&line).into_owned());
                        return;
                    }
                    Ok(_) => self.input = None,
                    Err(error) => {
                        self.status = fail("sed", reason(&error));
                        self.input = None;
                    }
                }
                if self.options.in_place.is_some() || self.options.separate {
                    return;
                }
                continue;
            }
            if !self.open_next() {
                return;
            }
        }
    }

    fn open_next(&mut self) -> bool {
        loop {
            let Some(path) = self.files.next() else { return false };
            if path == "-" {
                self.input = Some(Box::new(BufReader::new(std::io::stdin())));
                return true;
            }
            match std::fs::File::open(path) {
                Ok(file) if !std::path::Path::new(path).is_dir() => {
                    self.input = Some(Box::new(BufReader::new(file)));
                    if self.options.in_place.is_some() {
                        self.close();
                        self.output = Some((path.clone(), Vec::new()));
                        self.number = 0;
                    }
                    return true;
                }
                Ok(_) => self.status = fail("sed", format!("couldn't edit {path}: not a regular file")),
                Err(error) => self.status = fail("sed", format!("{path}: {}", reason(&error))),
            }
        }
    }

    fn next_line(&mut self) -> bool {
        if self.ahead.is_none() {
            self.fill();
        }
        let Some(line) = self.ahead.take() else { return false };
        self.ended = line.ends_with('\n');
        self.space = line.strip_suffix('\n').unwrap_or(&line).to_owned();
        self.number += 1;
        self.fill();
        true
    }

    fn write(&mut self, bytes: &[u8]) {
        match &mut self.output {
            Some((_, all)) => all.extend_from_slice(bytes),
            None => out(bytes),
        }
    }

    fn print(&mut self) {
        let end = if self.ended || self.ahead.is_some() { "\n" } else { "" };
        let text = format!("{}{end}", self.space);
        self.write(text.as_bytes());
    }

    fn close(&mut self) {
        if let Some((path, bytes)) = self.output.take() {
            if let Some(suffix) = self.options.in_place.as_ref().filter(|s| !s.is_empty()) {
                let _ = std::fs::copy(&path, format!("{path}{suffix}"));
            }
            if let Err(error) = std::fs::write(&path, bytes) {
                self.status = fail("sed", format!("{path}: {}", reason(&error)));
            }
        }
    }

    /// When `q` ends an in-place edit, the rest of the file stays.
    fn copy_rest(&mut self) {
        if self.output.is_some() {
            while let Some(line) = self.ahead.take() {
                self.write(line.as_bytes());
                let before = self.input.is_some();
                if !before {
                    break;
                }
                self.fill();
            }
        }
    }

    fn is(&mut self, address: &Address) -> bool {
        match address {
            Address::Line(n) => self.number == *n,
            Address::Last => {
                self.ahead.is_none()
                    && (self.input.is_none() && self.files.as_slice().is_empty() || self.options.in_place.is_some())
            }
            Address::Step(first, 0) => self.number == *first,
            Address::Step(first, step) => self.number >= *first && (self.number - first) % step == 0,
            Address::Match(regex) => {
                if let Some(regex) = regex {
                    self.last_regex = Some(regex.clone());
                }
                self.last_regex.as_ref().is_some_and(|r| r.is_match(&self.space))
            }
        }
    }

    fn selected(&mut self, command: &mut Command) -> bool {
        let Some(from) = &command.from else { return true };
        match &command.to {
            Limit::None => self.is(from),
            limit => match command.active {
                Active::No => {
                    if !self.is(from) {
                        return false;
                    }
                    command.active = match limit {
                        Limit::Plus(n) => Active::Until(self.number + n),
                        Limit::To(Address::Line(n)) => Active::Until(*n),
                        _ => Active::Yes,
                    };
                    if let Active::Until(n) = command.active
                        && n <= self.number
                    {
                        command.active = Active::No;
                    }
                    true
                }
                Active::Until(n) => {
                    if self.number >= n {
                        command.active = Active::No;
                    }
                    self.number <= n
                }
                Active::Yes => {
                    if let Limit::To(to) = limit
                        && self.is(to)
                    {
                        command.active = Active::No;
                    }
                    true
                }
            },
        }
    }

    fn finish(&mut self) {
        if !self.options.quiet {
            self.print();
        }
        self.flush();
    }

    fn flush(&mut self) {
        let append = std::mem::take(&mut self.append);
        self.write(&append);
    }

    fn cycle(&mut self, commands: &mut [Command]) -> End {
        let mut at = 0;
        let mut substituted = false;
        let mut steps = 0;
        while at < commands.len() {
            steps += 1;
            if steps > MAX_STEPS {
                fail("sed", "the script does not end");
                return End::Quit(1);
            }
            let hit = self.selected(&mut commands[at]) != commands[at].negate;
            let command = &commands[at];
            at += 1;
            if !hit {
                if let Action::Open(end) = command.action {
                    at = end + 1;
                }
                continue;
            }
            match &command.action {
                Action::Open(_) | Action::Close | Action::Label => {}
                Action::Substitute {
                    regex,
                    with,
                    global,
                    nth,
                    print,
                    file,
                } => {
                    if let Some(regex) = regex {
                        self.last_regex = Some(regex.clone());
                    }
                    let Some(regex) = self.last_regex.clone() else { continue };
                    if let Some(text) = substitute(&self.space, &regex, with, *global, *nth) {
                        self.space = text;
                        substituted = true;
                        if *print {
                            self.print();
                        }
                        if let Some(file) = file {
                            self.to_file(file);
                        }
                    }
                }
                Action::Translate(map) => self.space = self.space.chars().map(|c| *map.get(&c).unwrap_or(&c)).collect(),
                Action::Text('a', text) => self.append.extend(text.as_bytes()),
                Action::Text('i', text) => self.write(text.clone().as_bytes()),
                Action::Text(_, text) => {
                    // A changed range is replaced once, at its end.
                    if command.active == Active::No || command.negate {
                        self.write(text.clone().as_bytes());
                    }
                    self.flush();
                    return End::Next;
                }
                Action::Branch(kind, target) => {
                    let jump = match kind {
                        't' => std::mem::take(&mut substituted),
                        'T' => !std::mem::take(&mut substituted),
                        _ => true,
                    };
                    if jump {
                        at = target.unwrap_or(commands.len());
                    }
                }
                Action::Quit(code, print) => {
                    if *print {
                        self.finish();
                    }
                    return End::Quit(*code);
                }
                Action::File('r', path) => {
                    if let Ok(bytes) = std::fs::read(path) {
                        self.append.extend(bytes);
                    }
                }
                Action::File(_, path) => self.to_file(path),
                Action::Simple(c) => match self.simple(*c) {
                    Some(end) => return end,
                    None => continue,
                },
            }
        }
        self.finish();
        End::Next
    }

    fn to_file(&mut self, path: &str) {
        let line = format!("{}\n", self.space);
        if path == "/dev/stdout" {
            return out(line);
        }
        if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path) {
            let _ = file.write_all(line.as_bytes());
        }
    }

    fn simple(&mut self, c: char) -> Option<End> {
        match c {
            'd' => {
                self.flush();
                return Some(End::Next);
            }
            'D' => match self.space.split_once('\n') {
                None => {
                    self.flush();
                    return Some(End::Next);
                }
                Some((_, rest)) => {
                    self.space = rest.to_owned();
                    self.flush();
                    return Some(End::Restart);
                }
            },
            'g' => self.space = self.hold.clone(),
            'G' => self.space = format!("{}\n{}", self.space, self.hold),
            'h' => self.hold = self.space.clone(),
            'H' => self.hold = format!("{}\n{}", self.hold, self.space),
            'x' => std::mem::swap(&mut self.space, &mut self.hold),
            'p' => self.print(),
            'P' => {
                let first = self.space.split('\n').next().unwrap_or("").to_owned() + "\n";
                self.write(first.as_bytes());
            }
            '=' => {
                let text = format!("{}\n", self.number);
                self.write(text.as_bytes());
            }
            'l' => {
                let text: String = self.space.chars().flat_map(char::escape_default).collect();
                self.write(format!("{text}$\n").as_bytes());
            }
            'n' => {
                self.finish();
                if !self.next_line() {
                    return Some(End::Quit(0));
                }
            }
            'N' => {
                let before = std::mem::take(&mut self.space);
                self.flush();
                if !self.next_line() {
                    self.space = before;
                    if !self.options.quiet {
                        self.print();
                    }
                    return Some(End::Quit(0));
                }
                self.space = format!("{before}\n{}", self.space);
            }
            _ => {}
        }
        None
    }
}

/// Replaces the matches from the `nth` on, or that one alone. `None`: there is none.
pub(crate) fn substitute(text: &str, regex: &Regex, with: &str, global: bool, nth: usize) -> Option<String> {
    let mut done = String::new();
    let mut at = 0;
    let mut count = 0;
    let mut changed = false;
    for found in regex.captures_iter(text) {
        let whole = found.get(0)?;
        count += 1;
        if count < nth.max(1) {
            continue;
        }
        done.push_str(&text[at..whole.start()]);
        replacement(with, &found, &mut done);
        at = whole.end();
        changed = true;
        if !global {
            break;
        }
    }
    done.push_str(&text[at..]);
    changed.then_some(done)
}

/// Case of replaced text: for the next character, and for all until `\E`.
#[derive(Default)]
struct Case {
    once: Option<bool>,
    lasting: Option<bool>,
}

impl Case {
    fn push(&mut self, text: &str, into: &mut String) {
        for c in text.chars() {
            match self.once.take().or(self.lasting) {
                Some(true) => into.extend(c.to_uppercase()),
                Some(false) => into.extend(c.to_lowercase()),
                None => into.push(c),
            }
        }
    }
}

fn replacement(with: &str, found: &Captures<'_>, into: &mut String) {
    let mut chars = with.chars();
    let mut case = Case::default();
    let group = |n: usize| found.get(n).map_or("", |m| m.as_str());
    while let Some(c) = chars.next() {
        match c {
            '&' => case.push(group(0), into),
            '\\' => match chars.next() {
                Some(d) if d.is_ascii_digit() => case.push(group(d.to_digit(10).unwrap_or(0) as usize), into),
                Some('n') => case.push("\n", into),
                Some('t') => case.push("\t", into),
                Some(c @ ('U' | 'L')) => case.lasting = Some(c == 'U'),
                Some('E') => case.lasting = None,
                Some(c @ ('u' | 'l')) => case.once = Some(c == 'u'),
                Some(c) => case.push(c.encode_utf8(&mut [0; 4]), into),
                None => case.push("\\", into),
            },
            c => case.push(c.encode_utf8(&mut [0; 4]), into),
        }
    }
}
