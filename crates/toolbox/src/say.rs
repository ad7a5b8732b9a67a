//! Output of the small programs: errors in the words of the C library, and standard output that ends quietly on a closed pipe.

use std::io::Write;

/// An error's text without Rust's `(os error N)`.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// `name: message` on standard error; the result is an exit status of 1.
pub(crate) fn fail(name: &str, message: impl std::fmt::Display) -> i32 {
    let _ = writeln!(std::io::stderr(), "{name}: {message}");
    1
}

/// Writes to standard output and flushes; a reader that has gone is no error.
pub(crate) fn out(text: impl AsRef<[u8]>) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_ref());
    let _ = stdout.flush();
}
