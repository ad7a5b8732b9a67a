//! A shell on a simulated terminal: a prompt, and keys that are echoed.

use super::shell::Shell;

/// Longest line that is taken.
const LONGEST: usize = 4096;

/// Reads keys and runs lines until `exit` or the end of input; the exit code.
pub(super) async fn interact(shell: &mut Shell) -> i32 {
    let mut status = 0;
    while let Some(line) = read_line(shell).await {
        if line.trim().is_empty() {
            continue;
        }
        status = shell.script(&line).await;
        if shell.exiting {
            shell.exiting = false;
            return status;
        }
    }
    status
}

/// One line, with the keys that a terminal knows; `None` at the end of input.
async fn read_line(shell: &mut Shell) -> Option<String> {
    let prompt = format!("{} # ", shell.dir.display());
    shell.stdio.print(&prompt).await;
    let mut line = Vec::new();
    loop {
        match shell.stdio.byte().await? {
            b'\r' | b'\n' => {
                shell.stdio.print("\r\n").await;
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            // Backspace.
            0x7f | 0x08 if line.pop().is_some() => shell.stdio.print("\x08 \x08").await,
            // Ctrl-C drops the line, Ctrl-D ends the shell, Ctrl-U clears the line.
            0x03 => {
                line.clear();
                shell.stdio.print(&format!("^C\r\n{prompt}")).await;
            }
            0x04 if line.is_empty() => {
                shell.stdio.print("\r\n").await;
                return None;
            }
            0x15 => {
                shell.stdio.print(&"\x08 \x08".repeat(line.len())).await;
                line.clear();
            }
            0x0c => {
                let text = String::from_utf8_lossy(&line).into_owned();
                shell.stdio.print(&format!("\x1b[H\x1b[2J{prompt}{text}")).await;
            }
            byte if byte >= b' ' && line.len() < LONGEST => {
                line.push(byte);
                shell.stdio.raw(&[byte]).await;
            }
            _ => {}
        }
    }
}
