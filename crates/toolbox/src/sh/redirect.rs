//! Redirections: made before a command, undone after it.

use std::fs::OpenOptions;
use std::os::fd::IntoRawFd;

use super::ast::{Redirect, Target};
use super::{Run, Shell};

/// What a descriptor was before: parked elsewhere, or closed.
pub(super) struct Saved(Vec<(i32, Option<i32>)>);

impl Shell {
    /// Makes the redirections. `Ok(Err(()))`: one failed, which has been reported, and none is left in place.
    pub(super) fn redirect(&mut self, redirects: &[Redirect]) -> Run<Result<Saved, ()>> {
        let mut saved = Saved(Vec::new());
        for redirect in redirects {
            match self.redirect_one(redirect, &mut saved) {
                Ok(Ok(())) => {}
                Ok(Err(message)) => {
                    self.undo(saved);
                    self.complain(&message);
                    return Ok(Err(()));
                }
                Err(stop) => {
                    self.undo(saved);
                    return Err(stop);
                }
            }
        }
        Ok(Ok(saved))
    }

    fn redirect_one(&mut self, redirect: &Redirect, saved: &mut Saved) -> Run<Result<(), String>> {
        let fd = redirect.fd;
        let mut open = |word: &super::ast::Word, options: &mut OpenOptions, verb: &str| -> Run<Result<i32, String>> {
            let path = self.expand_text(word)?;
            Ok(options
                .open(&path)
                .map(IntoRawFd::into_raw_fd)
                .map_err(|error| format!("can't {verb} {path}: {}", crate::say::reason(&error))))
        };
        let opened = match &redirect.to {
            Target::Read(word) => open(word, OpenOptions::new().read(true), "open")?,
            Target::Write { word, clobber } => {
                let exclusive = !clobber && self.options.noclobber;
                let path = self.expand_text(word)?;
                let path = std::path::Path::new(&path);
                if exclusive && path.is_file() {
                    Err(format!("can't create {}: File exists", path.display()))
                } else {
                    OpenOptions::new()
                        .write(true)
                        .create(true)
                        .truncate(true)
                        .open(path)
                        .map(IntoRawFd::into_raw_fd)
                        .map_err(|error| format!("can't create {}: {}", path.display(), create_reason(&error)))
                }
            }
            Target::Append(word) => open(word, OpenOptions::new().append(true).create(true), "create")?,
            Target::ReadWrite(word) => open(
                word,
                OpenOptions::new().read(true).write(true).create(true).truncate(false),
                "create",
            )?,
            Target::Both { word, append } => {
                let mut options = OpenOptions::new();
                options.create(true).write(true).append(*append).truncate(!append);
                match open(word, &mut options, "create")? {
                    Ok(file) => {
                        park(2, saved);
                        let _ = crate::sys::dup_to(file, 2);
                        Ok(file)
                    }
                    Err(message) => Err(message),
                }
            }
            Target::Here(text) => match text.get() {
                Some(word) => {
                    let text = self.expand_text(word)?;
                    here(&text)
                }
                None => Err("here-document without its text".to_owned()),
            },
            Target::HereString(word) => {
                let text = self.expand_text(word)?;
                here(&format!("{text}\n"))
            }
            Target::Dup(word) => {
                let text = self.expand_text(word)?;
                if text == "-" {
                    park(fd, saved);
                    crate::sys::close(fd);
                    return Ok(Ok(()));
                }
                match text.parse::<i32>() {
                    Ok(from) if from >= 0 => {
                        park(fd, saved);
                        if crate::sys::dup_to(from, fd).is_err() {
                            return Ok(Err(format!("{from}: Bad file descriptor")));
                        }
                        return Ok(Ok(()));
                    }
                    // `>& file` is bash's older spelling of `&> file`.
                    _ if self.bash && fd == 1 => {
                        let to = Target::Both {
                            word: vec![super::ast::Part::Quoted(text)],
                            append: false,
                        };
                        return self.redirect_one(&Redirect { fd: 1, to }, saved);
                    }
                    _ => Err(format!("{text}: bad file descriptor")),
                }
            }
        };
        Ok(opened.map(|file| {
            if file != fd {
                park(fd, saved);
                let _ = crate::sys::dup_to(file, fd);
                crate::sys::close(file);
            }
        }))
    }

    /// Puts every descriptor back, last first.
    pub(super) fn undo(&mut self, saved: Saved) {
        for (fd, parked) in saved.0.into_iter().rev() {
            match parked {
                Some(parked) => {
                    let _ = crate::sys::dup_to(parked, fd);
                    crate::sys::close(parked);
                }
                None => crate::sys::close(fd),
            }
        }
    }

    /// Leaves the redirections in place for good.
    pub(super) fn keep(&mut self, saved: Saved) {
        for (_, parked) in saved.0 {
            if let Some(parked) = parked {
                crate::sys::close(parked);
            }
        }
    }
}

fn park(fd: i32, saved: &mut Saved) {
    saved.0.push((fd, crate::sys::dup_high(fd).ok()));
}

fn create_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "nonexistent directory".to_owned(),
        _ => crate::say::reason(error),
    }
}

/// A descriptor from which `text` can be read: a pipe when it fits, else a file without a name.
fn here(text: &str) -> Result<i32, String> {
    let failed = |error: std::io::Error| format!("here-document: {error}");
    if text.len() <= 4096 {
        let (read, write) = crate::sys::pipe().map_err(failed)?;
        let written = crate::sys::write_all(write, text.as_bytes());
        crate::sys::close(write);
        return written.map(|()| read).map_err(failed);
    }
    let path = std::env::temp_dir().join(format!(".sh-{:x}", crate::random::next()));
    std::fs::write(&path, text).map_err(failed)?;
    let file = std::fs::File::open(&path).map_err(failed);
    let _ = std::fs::remove_file(&path);
    file.map(IntoRawFd::into_raw_fd)
}
