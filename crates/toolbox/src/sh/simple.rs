//! Simple commands: assignments, functions, builtins, programs.

use std::ffi::CString;
use std::rc::Rc;

use super::ast::{Cmd, Simple};
use super::{Run, Shell, Stop, builtin};

/// Function calls and sourced files inside each other: more is a script gone wild, and the stack is finite.
const MAX_CALLS: u32 = 400;

impl Shell {
    pub(super) fn simple(&mut self, simple: &Simple) -> Run<i32> {
        self.line = simple.line;
        self.captured = false;
        let last = std::mem::take(&mut self.last_command);
        let words = self.expand_words(&simple.words)?;
        if self.options.xtrace && !words.is_empty() {
            let shown: Vec<String> = words.iter().map(|w| super::text::quote(w)).collect();
            let prefix = self.vars.get("PS4").unwrap_or("+ ").to_owned();
            let _ = crate::sys::write_all(2, format!("{prefix}{}\n", shown.join(" ")).as_bytes());
        }
        let Some(name) = words.first().cloned() else {
            return self.assign_only(simple);
        };
        let function = self.functions.get(&name).cloned();
        let builtin = if function.is_none() { builtin::find(&name) } else { None };
        if function.is_none() && builtin.is_none() {
            return self.external(simple, &words, last);
        }
        let saved = match self.redirect(&simple.redirects)? {
            Ok(saved) => saved,
            Err(()) => return Ok(1),
        };
        // Assignments before a builtin or function last as long as it runs; before the special ones, as POSIX says, they stay.
        let keep = builtin.is_some() && builtin::is_special(&name);
        let mut before = Vec::new();
        let mut result = Ok(0);
        for assign in &simple.assigns {
            if !keep {
                before.push((assign.name.clone(), self.vars.save(&assign.name)));
            }
            if let Err(stop) = self.assign(assign, !keep) {
                result = Err(stop);
                break;
            }
        }
        if result.is_ok() {
            result = match (function, builtin) {
                (Some(body), _) => self.call(&body, words[1..].to_vec()),
                (None, Some(run)) => run(self, &words),
                (None, None) => Ok(0),
            };
        }
        for (name, saved) in before.into_iter().rev() {
            self.vars.restore(&name, saved);
        }
        if name == "exec" && result.is_ok() {
            self.keep(saved);
        } else {
            self.undo(saved);
        }
        result
    }

    fn assign_only(&mut self, simple: &Simple) -> Run<i32> {
        for assign in &simple.assigns {
            self.assign(assign, false)?;
        }
        if !simple.redirects.is_empty() {
            match self.redirect(&simple.redirects)? {
                Ok(saved) => self.undo(saved),
                Err(()) => return Ok(1),
            }
        }
        Ok(if self.captured { self.status } else { 0 })
    }

    fn assign(&mut self, assign: &super::ast::Assign, export: bool) -> Run<()> {
        let mut value = self.expand_text(&assign.value)?;
        if assign.append {
            value.insert_str(0, self.vars.get(&assign.name).unwrap_or(""));
        }
        if self.options.xtrace {
            let _ = crate::sys::write_all(
                2,
                format!("+ {}={}\n", assign.name, super::text::quote(&value)).as_bytes(),
            );
        }
        let done = self.vars.set(&assign.name, value);
        self.fine(done)?;
        if export || self.options.allexport {
            self.vars.export(&assign.name, true);
        }
        Ok(())
    }

    /// Calls a function.
    pub(super) fn call(&mut self, body: &Rc<Cmd>, args: Vec<String>) -> Run<i32> {
        if self.depth >= MAX_CALLS {
            return Err(self.fatal("maximum function recursion depth reached"));
        }
        let outer = std::mem::replace(&mut self.args, args);
        let loops = std::mem::take(&mut self.loops);
        self.depth += 1;
        self.vars.push_frame();
        let result = self.run(body);
        self.vars.pop_frame();
        self.depth -= 1;
        self.loops = loops;
        self.args = outer;
        match result {
            Err(Stop::Return(status)) => {
                self.status = status;
                Ok(status)
            }
            other => other,
        }
    }

    fn external(&mut self, simple: &Simple, words: &[String], last: bool) -> Run<i32> {
        let child = |shell: &mut Self| -> i32 {
            shell.child_signals();
            match shell.redirect(&simple.redirects) {
                Ok(Ok(saved)) => shell.keep(saved),
                Ok(Err(())) => return 1,
                Err(_) => return 2,
            }
            for assign in &simple.assigns {
                if shell.assign(assign, true).is_err() {
                    return 2;
                }
            }
            shell.replace(words)
        };
        if last && self.traps.is_empty() {
            let code = child(self);
            std::process::exit(code);
        }
        let monitor = self.options.monitor;
        match crate::sys::fork() {
            Ok(Some(pid)) => {
                if monitor {
                    super::job::set_group(pid, pid);
                }
                Ok(self.foreground(vec![pid], monitor.then_some(pid), words.join(" ")))
            }
            Ok(None) => {
                if monitor {
                    super::job::set_group(0, 0);
                    super::job::take_terminal();
                }
                let code = child(self);
                std::process::exit(code)
            }
            Err(error) => Err(self.fatal(&format!("can't fork: {error}"))),
        }
    }

    /// Becomes another program. Returns only when that fails, with the status to exit with.
    pub(super) fn replace(&mut self, words: &[String]) -> i32 {
        let Some(name) = words.first() else { return 0 };
        let path = if name.contains('/') {
            Some(name.clone())
        } else {
            self.find_program(name)
        };
        let Some(path) = path else {
            self.complain(&if self.bash {
                format!("{name}: command not found")
            } else {
                format!("{name}: not found")
            });
            return 127;
        };
        let c = |text: &str| CString::new(text.replace('\0', "")).unwrap_or_default();
        let argv: Vec<CString> = words.iter().map(|w| c(w)).collect();
        let env: Vec<CString> = self.vars.environment().map(|(n, v)| c(&format!("{n}={v}"))).collect();
        let Err(error) = nix::unistd::execve(&c(&path), &argv, &env);
        match error {
            nix::errno::Errno::ENOEXEC => {
                // A script without `#!` is a script for this shell.
                let mut argv = vec![c("sh"), c(&path)];
                argv.extend(words[1..].iter().map(|w| c(w)));
                let _ = nix::unistd::execve(c"/proc/self/exe", &argv, &env);
                self.complain(&format!("{name}: Exec format error"));
                126
            }
            nix::errno::Errno::ENOENT => {
                self.complain(&format!("{name}: not found"));
                127
            }
            _ if std::path::Path::new(&path).is_dir() => {
                self.complain(&format!("{name}: Is a directory"));
                126
            }
            error => {
                self.complain(&format!("{name}: {}", crate::say::reason(&std::io::Error::from(error))));
                126
            }
        }
    }

    /// Looks a program up in `PATH`.
    pub(super) fn find_program(&self, name: &str) -> Option<String> {
        let path = self.vars.get("PATH").unwrap_or("/bin:/usr/bin");
        path.split(':').find_map(|dir| {
            let file = if dir.is_empty() {
                format!("./{name}")
            } else {
                format!("{dir}/{name}")
            };
            crate::which::is_program(&file).then_some(file)
        })
    }
}
