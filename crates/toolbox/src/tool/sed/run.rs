//! Runs a script over its input.

use std::io::{BufRead, BufReader, Read, Write};

use regex::Regex;

use super::{Action, Active, Address, Command, Limit, MAX_STEPS, Options, substitute};
use crate::say::{fail, out, reason};

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

/// Runs a script; the result is the exit status.
pub(super) fn run(mut commands: Vec<Command>, options: &Options, files: &[String]) -> i32 {
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
            Address::Step(first, step) => self.number >= *first && (self.number - first).is_multiple_of(*step),
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
                            self.append_to(file);
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
                Action::File(_, path) => self.append_to(path),
                Action::Simple(c) => match self.simple(*c) {
                    Some(end) => return end,
                    None => continue,
                },
            }
        }
        self.finish();
        End::Next
    }

    fn append_to(&mut self, path: &str) {
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
