//! A POSIX shell, as small containers have it: `sh` and `ash`; called `bash` it knows the everyday extensions of bash too.
//!
//! Subshells, pipelines and background jobs are real processes (a fork each), so traps, `$!`, `wait PID` and signals mean what they
//! mean everywhere: entry points of containers rely on exactly these.

mod arith;
mod ast;
mod brace;
mod builtin;
mod compound;
mod edit;
mod exec;
mod expand;
mod interactive;
mod job;
mod limit;
mod param;
mod parse;
pub(crate) mod pattern;
mod printf;
mod redirect;
mod signal;
mod simple;
pub(crate) mod test;
pub(crate) mod text;
mod vars;
mod word;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Instant;

use ast::Cmd;
use vars::Vars;

/// Why running stopped short of the next command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Leave this many loops.
    Break(u32),
    /// Leave this many loops but one, and go on with that one.
    Continue(u32),
    /// Leave the function or sourced file.
    Return(i32),
    /// Back to the prompt.
    Abort(i32),
    Exit(i32),
}

type Run<T> = Result<T, Stop>;

/// `set -o` options.
#[derive(Clone, Debug, Default)]
struct Options {
    errexit: bool,
    nounset: bool,
    xtrace: bool,
    verbose: bool,
    noglob: bool,
    noclobber: bool,
    noexec: bool,
    allexport: bool,
    monitor: bool,
    pipefail: bool,
    interactive: bool,
    /// `-s`, or no script: commands come from standard input.
    stdin: bool,
}

impl Options {
    fn by_letter(&mut self, letter: char) -> Option<&mut bool> {
        Some(match letter {
            'e' => &mut self.errexit,
            'u' => &mut self.nounset,
            'x' => &mut self.xtrace,
            'v' => &mut self.verbose,
            'f' => &mut self.noglob,
            'C' => &mut self.noclobber,
            'n' => &mut self.noexec,
            'a' => &mut self.allexport,
            'm' => &mut self.monitor,
            'i' => &mut self.interactive,
            's' => &mut self.stdin,
            _ => return None,
        })
    }

    fn by_name(&mut self, name: &str) -> Option<&mut bool> {
        let letter = match name {
            "errexit" => 'e',
            "nounset" => 'u',
            "xtrace" => 'x',
            "verbose" => 'v',
            "noglob" => 'f',
            "noclobber" => 'C',
            "noexec" => 'n',
            "allexport" => 'a',
            "monitor" => 'm',
            "pipefail" => return Some(&mut self.pipefail),
            _ => return None,
        };
        self.by_letter(letter)
    }

    fn letters(&self) -> String {
        let mut copy = self.clone();
        "aefimnsuvxC"
            .chars()
            .filter(|c| copy.by_letter(*c).is_some_and(|on| *on))
            .collect()
    }
}

/// A running shell.
struct Shell {
    /// `$0`.
    name: String,
    args: Vec<String>,
    bash: bool,
    options: Options,
    vars: Vars,
    functions: HashMap<String, Rc<Cmd>>,
    aliases: HashMap<String, String>,
    /// What to run when a signal (0: exit) arrives; empty text ignores it.
    traps: BTreeMap<i32, String>,
    jobs: job::Jobs,
    status: i32,
    /// A command substitution set `status` while words were expanded.
    captured: bool,
    last_background: Option<i32>,
    /// `$$`: of the first shell, also in subshells.
    pid: i32,
    line: u32,
    /// Running a file: messages name its lines.
    in_script: bool,
    started: Instant,
    /// Above 0 where a failure is part of a condition, so that `set -e` lets it be.
    tested: u32,
    /// Functions and sourced files being run.
    depth: u32,
    loops: u32,
    in_trap: bool,
    /// This process may become the next command instead of forking for it.
    last_command: bool,
    history: Vec<String>,
}

impl Shell {
    fn new(name: String, bash: bool) -> Self {
        // Noted from the start: waiting for children relies on it.
        crate::sys::on_signal(17, crate::sys::Disposition::Note);
        let mut vars = Vars::from_env();
        for (key, value) in [("IFS", " \t\n"), ("OPTIND", "1"), ("PS2", "> "), ("PS4", "+ ")] {
            let _ = vars.set(key, value);
            vars.export(key, false);
        }
        let _ = vars.set("PPID", nix::unistd::getppid().as_raw().to_string());
        if vars.get("PATH").is_none() {
            let _ = vars.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        }
        if let Ok(cwd) = std::env::current_dir() {
            let _ = vars.set("PWD", cwd.to_string_lossy());
            vars.export("PWD", true);
        }
        if bash {
            let _ = vars.set("BASH_VERSION", "5.2.15(1)-release");
        }
        Self {
            name,
            args: Vec::new(),
            bash,
            options: Options::default(),
            vars,
            functions: HashMap::new(),
            aliases: HashMap::new(),
            traps: BTreeMap::new(),
            jobs: job::Jobs::default(),
            status: 0,
            captured: false,
            last_background: None,
            pid: nix::unistd::getpid().as_raw(),
            line: 1,
            in_script: false,
            started: Instant::now(),
            tested: 0,
            depth: 0,
            loops: 0,
            in_trap: false,
            last_command: false,
            history: Vec::new(),
        }
    }

    /// An error message as ash words it: `sh: foo: not found`, with the line in scripts.
    fn complain(&self, message: &str) {
        let name = self.name.trim_start_matches('-');
        let text = if self.in_script {
            format!("{name}: line {}: {message}\n", self.line)
        } else {
            format!("{name}: {message}\n")
        };
        let _ = crate::sys::write_all(2, text.as_bytes());
    }

    /// Runs a whole text; the status of the last command is left in `status`.
    fn run_text(&mut self, text: &str) -> Run<i32> {
        let mut rest = text.to_owned();
        let may_replace = std::mem::take(&mut self.last_command);
        loop {
            let aliases = self.aliases.clone();
            let mut parser = parse::Parser::new(&rest, &aliases, self.bash);
            parser.line = self.line;
            // As long as no alias changes, one reading of the text serves all commands.
            loop {
                match parser.complete() {
                    Ok(None) => return Ok(self.status),
                    Ok(Some(cmd)) => {
                        if !self.options.noexec {
                            self.last_command = may_replace && parser.at_text_end();
                            self.run(&cmd)?;
                        }
                    }
                    Err(parse::ParseError::Incomplete) => {
                        self.complain("syntax error: unexpected end of file");
                        return Err(self.syntax_stop());
                    }
                    Err(parse::ParseError::Syntax(message)) => {
                        self.complain(&message);
                        return Err(self.syntax_stop());
                    }
                }
                if self.aliases != aliases {
                    break;
                }
            }
            rest = parser.rest();
        }
    }

    fn syntax_stop(&mut self) -> Stop {
        self.status = 2;
        if self.options.interactive {
            Stop::Abort(2)
        } else {
            Stop::Exit(2)
        }
    }

    /// Ends this process with the status that `result` means, running the EXIT trap first.
    fn finish(&mut self, result: Run<i32>) -> ! {
        let code = match result {
            Ok(code) | Err(Stop::Exit(code) | Stop::Return(code) | Stop::Abort(code)) => code,
            Err(Stop::Break(_) | Stop::Continue(_)) => self.status,
        };
        std::process::exit(self.leave(code))
    }

    /// Runs the EXIT trap; the result is the status to exit with.
    fn leave(&mut self, code: i32) -> i32 {
        self.status = code;
        match self.traps.remove(&0) {
            Some(action) if !action.is_empty() => {
                self.in_trap = true;
                self.last_command = false;
                match self.run_text(&action) {
                    Err(Stop::Exit(code)) => code,
                    _ => code,
                }
            }
            _ => code,
        }
    }
}

/// The programs `sh`, `ash` and `bash`.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let args: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let name = args.first().cloned().unwrap_or_else(|| "sh".to_owned());
    let base = name
        .trim_start_matches('-')
        .rsplit('/')
        .next()
        .unwrap_or("sh")
        .to_owned();
    let mut shell = Shell::new(
        if name.contains('/') { name.clone() } else { base.clone() },
        base == "bash",
    );
    let mut login = name.starts_with('-');
    let mut command = false;
    let mut rest = args.into_iter().skip(1).peekable();
    while let Some(arg) = rest.next_if(|a| a.len() > 1 && a.starts_with(['-', '+'])) {
        if arg == "--" {
            break;
        }
        if let Some(long) = arg.strip_prefix("--") {
            match long {
                "login" => login = true,
                "posix" | "norc" | "noprofile" | "noediting" => {}
                _ => {
                    shell.complain(&format!("bad option '{arg}'"));
                    return 2;
                }
            }
            continue;
        }
        let on = arg.starts_with('-');
        for letter in arg.chars().skip(1) {
            match letter {
                'c' => command = true,
                'l' => login = true,
                'o' => {
                    let option = rest.next().unwrap_or_default();
                    match shell.options.by_name(&option) {
                        Some(flag) => *flag = on,
                        None => {
                            shell.complain(&format!("illegal option -o {option}"));
                            return 2;
                        }
                    }
                }
                _ => match shell.options.by_letter(letter) {
                    Some(flag) => *flag = on,
                    None => {
                        shell.complain(&format!("illegal option -{letter}"));
                        return 2;
                    }
                },
            }
        }
    }
    let mut text = None;
    if command {
        let Some(script) = rest.next() else {
            shell.complain("-c requires an argument");
            return 2;
        };
        text = Some(script);
        if let Some(name) = rest.next() {
            shell.name = name;
        }
    } else if !shell.options.stdin
        && let Some(path) = rest.next()
    {
        match std::fs::read(&path) {
            Ok(bytes) => text = Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => {
                shell.complain(&format!("can't open '{path}': {}", crate::say::reason(&error)));
                return 2;
            }
        }
        shell.name = path;
        shell.in_script = true;
    } else {
        shell.options.stdin = true;
    }
    shell.args = rest.collect();
    if text.is_none() && crate::sys::is_tty(0) && crate::sys::is_tty(2) {
        shell.options.interactive = true;
    }
    if login {
        shell.source_if_there("/etc/profile");
        let home = format!("{}/.profile", shell.home());
        shell.source_if_there(&home);
    }
    let result = match text {
        Some(text) => {
            if shell.options.interactive {
                shell.start_interactive();
            }
            shell.last_command = command;
            let result = shell.run_text(&text);
            shell.last_command = false;
            result
        }
        None if shell.options.interactive => shell.interact(),
        None => shell.run_stdin(),
    };
    shell.finish(result)
}

impl Shell {
    fn source_if_there(&mut self, path: &str) {
        if let Ok(text) = std::fs::read_to_string(path) {
            let _ = self.run_text(&text);
        }
    }

    /// Commands from a pipe or file: read byte by byte, because what follows a command may be that command's input.
    fn run_stdin(&mut self) -> Run<i32> {
        let mut text = String::new();
        loop {
            let mut line = Vec::new();
            let end = loop {
                let mut byte = [0];
                match crate::sys::read(0, &mut byte) {
                    Ok(0) => break true,
                    Ok(_) => {
                        line.push(byte[0]);
                        if byte[0] == b'\n' {
                            break false;
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.run_traps()?,
                    Err(_) => break true,
                }
            };
            text.push_str(&String::from_utf8_lossy(&line));
            let aliases = self.aliases.clone();
            let mut parser = parse::Parser::new(&text, &aliases, self.bash);
            parser.line = self.line;
            let mut commands = Vec::new();
            let outcome = loop {
                match parser.complete() {
                    Ok(Some(cmd)) => commands.push(cmd),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            match outcome {
                Err(parse::ParseError::Incomplete) if !end => continue,
                Err(parse::ParseError::Incomplete) => {
                    self.complain("syntax error: unexpected end of file");
                    return Err(self.syntax_stop());
                }
                Err(parse::ParseError::Syntax(message)) => {
                    self.complain(&message);
                    return Err(self.syntax_stop());
                }
                Ok(()) => {}
            }
            for cmd in commands {
                self.run(&cmd)?;
            }
            self.line = self
                .line
                .saturating_add(u32::try_from(text.matches('\n').count()).unwrap_or(0));
            text.clear();
            if end {
                return Ok(self.status);
            }
        }
    }
}

/// A signal's number by name or number.
pub(crate) fn signal_number(text: &str) -> Option<i32> {
    signal::number(text)
}

/// The program `kill`.
pub(crate) fn kill(args: &[String]) -> i32 {
    match builtin::kill_with(args.get(1..).unwrap_or_default(), |_| None) {
        Ok(text) => {
            crate::say::out(text.unwrap_or_default());
            0
        }
        Err(errors) => errors.iter().map(|e| crate::say::fail("kill", e)).max().unwrap_or(1),
    }
}

/// The program `echo`.
pub(crate) fn echo(args: &[String]) -> i32 {
    crate::say::out(builtin::echo_text(args.get(1..).unwrap_or_default()));
    0
}

/// The program `printf`.
pub(crate) fn print_formatted(args: &[String]) -> i32 {
    let Some(format) = args.get(1) else {
        return crate::say::fail("printf", "usage: printf FORMAT [ARG]...");
    };
    let (bytes, errors) = printf::format(format, &args[2..]);
    crate::say::out(bytes);
    errors.iter().map(|e| crate::say::fail("printf", e)).max().unwrap_or(0)
}
