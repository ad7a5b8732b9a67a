//! Programs on a pseudo-terminal.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::program;

/// A program on a terminal of 80x50, with the screen it has drawn.
struct Terminal {
    child: Child,
    master: std::fs::File,
    screen: vt100::Parser,
    raw: String,
}

impl Terminal {
    fn start(command: &mut Command) -> Self {
        let size = nix::pty::Winsize {
            ws_row: 50,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = nix::pty::openpty(Some(&size), None::<&nix::sys::termios::Termios>).expect("a terminal");
        let slave = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a copy"));
        // `setsid -c` for the tests: the toolbox' own shell takes a terminal that nobody has when it leads its session.
        command
            .stdin(slave(&pty.slave))
            .stdout(slave(&pty.slave))
            .stderr(slave(&pty.slave))
            .env("TERM", "xterm");
        own_terminal(command);
        let child = command.spawn().expect("it starts");
        drop(pty.slave);
        Self {
            child,
            master: pty.master.into(),
            screen: vt100::Parser::new(nonzero(50), nonzero(80), 0),
            raw: String::new(),
        }
    }

    fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("typed");
    }

    /// Reads until the screen satisfies the condition.
    fn until(&mut self, what: &str, condition: impl Fn(&vt100::Screen) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        let mut buffer = [0; 4096];
        while !condition(self.screen.screen()) {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [nix::poll::PollFd::new(
                self.master.as_fd(),
                nix::poll::PollFlags::POLLIN,
            )];
            let timeout = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
            let ready = nix::poll::poll(&mut fds, timeout).unwrap_or(0);
            assert!(
                ready > 0 && !left.is_zero(),
                "waited for {what}; the screen is\n{}",
                self.screen.screen().contents()
            );
            match self.master.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    self.screen.process(&buffer[..n]);
                    self.raw.push_str(&String::from_utf8_lossy(&buffer[..n]));
                }
                _ => {
                    assert!(
                        condition(self.screen.screen()),
                        "ended before {what}; the screen is\n{}",
                        self.screen.screen().contents()
                    );
                    return;
                }
            }
        }
    }

    fn sees(&mut self, text: &str) {
        let wanted = text.to_owned();
        self.until(text, move |screen| screen.contents().contains(&wanted));
    }

    /// Waits for the end.
    fn ends(mut self) -> i32 {
        let mut rest = Vec::new();
        let _ = self.master.read_to_end(&mut rest);
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }
}

fn nonzero(n: u16) -> std::num::NonZero<u16> {
    std::num::NonZero::new(n).expect("not zero")
}

/// Makes the child lead a session of its own with its standard input as controlling terminal.
fn own_terminal(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    #[allow(
        unsafe_code,
        reason = "two system calls between fork and exec, both async-signal-safe"
    )]
    // SAFETY: setsid and ioctl are async-signal-safe and touch no memory of the parent.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            nix::libc::ioctl(std::io::stdin().as_raw_fd(), nix::libc::TIOCSCTTY, 0);
            Ok(())
        });
    }
}

#[test]
fn the_shell_prompts_edits_and_controls_jobs() {
    let root = nix::unistd::geteuid().is_root();
    let prompt = if root { "/ #" } else { "/ $" };
    let mut t = Terminal::start(program("sh").current_dir("/").env("HOME", "/root"));
    let mut prompts = 0;
    // Keys are typed when the shell asks for them: what comes between two readers of a terminal belongs to either.
    let mut ready = |t: &mut Terminal| {
        prompts += 1;
        t.until(&format!("prompt {prompts}"), |s| {
            s.contents().lines().filter(|l| l.starts_with(prompt)).count() == prompts
        });
    };
    ready(&mut t);
    t.send("echo one$((1+1))\r");
    t.sees("one2");
    // Editing: Home, insert, End.
    ready(&mut t);
    t.send("cho three\x01e\x05 four\r");
    t.sees("\nthree four");
    // History, and rubbing out.
    ready(&mut t);
    t.send("\x1b[A\x1b[A\x7f\x7f\x7f+5))\r");
    t.sees("one6");
    ready(&mut t);
    t.send("never run\x03");
    t.sees("^C");
    // A command that runs is interrupted, the shell stays.
    ready(&mut t);
    t.send("sh -c 'echo run''ning; sleep 100'\r");
    t.sees("\nrunning");
    t.send("\x03");
    ready(&mut t);
    t.send("echo status $?\r");
    t.sees("status 130");
    // Stopped and resumed.
    ready(&mut t);
    t.send("sh -c 'echo sta''rted; exec cat'\r");
    t.sees("\nstarted");
    t.send("hello\r");
    t.until("cat to echo", |s| s.contents().matches("hello").count() == 2);
    t.send("\x1a");
    t.sees("[1]+  Stopped");
    ready(&mut t);
    t.send("fg\r");
    t.until("cat to be named", |s| s.contents().matches("exec cat").count() == 3);
    t.send("again\r");
    t.until("cat to go on", |s| s.contents().matches("again").count() == 2);
    t.send("\x04");
    // Several lines.
    ready(&mut t);
    t.send("for i in a b; do\r");
    t.sees("\n> ");
    t.send("echo \"<$i>\"\rdone\r");
    t.sees("<b>");
    // Completion.
    ready(&mut t);
    t.send("echo /etc/pass\t\r");
    t.sees("\n/etc/passwd");
    ready(&mut t);
    t.send("stty size; tty | cut -c1-8\r");
    t.sees("50 80\n/dev/pts");
    ready(&mut t);
    t.send("exit 7\r");
    assert_eq!(t.ends(), 7);
}

#[test]
fn the_shell_ends_with_ctrl_d_and_shows_a_short_home() {
    let mut t = Terminal::start(program("ash").current_dir("/etc").env("HOME", "/etc"));
    t.sees(if nix::unistd::geteuid().is_root() {
        "~ # "
    } else {
        "~ $ "
    });
    t.send("false\r\x04");
    assert_eq!(t.ends(), 1);
}

#[test]
fn vi_edits_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "first\nsecond\n").expect("written");
    let mut t = Terminal::start(program("vi").arg(&path));
    t.sees("second");
    t.until("the rest of the screen", |s| s.contents().contains("~"));
    t.send("jothird\x1b");
    t.sees("third");
    t.send(":wq\r");
    assert_eq!(t.ends(), 0);
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "first\nsecond\nthird\n");
}

#[test]
fn top_and_less_fill_the_screen_and_give_it_back() {
    let mut t = Terminal::start(&mut program("top"));
    t.sees("PID  PPID USER");
    assert!(t.screen.screen().alternate_screen());
    t.send("q");
    assert_eq!(t.ends(), 0);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("long.txt");
    std::fs::write(&path, (1..=100).map(|n| format!("line {n}\n")).collect::<String>()).expect("written");
    let mut t = Terminal::start(program("less").arg(&path));
    t.sees("line 49");
    t.send("G");
    t.sees("line 100");
    t.send("/line 3\r");
    t.sees("Pattern not found");
    t.send("gq");
    assert_eq!(t.ends(), 0);
}
