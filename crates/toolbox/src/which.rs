//! `which`, and what it means to be a program.

use std::os::unix::fs::PermissionsExt;

/// Whether `path` is a file that can be run.
pub(crate) fn is_program(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// `which NAME...`
pub(crate) fn main(args: &[String]) -> i32 {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/bin:/usr/bin".to_owned());
    let mut missing = 0;
    for name in args.iter().skip(1).filter(|a| !a.starts_with('-')) {
        let mut candidates: Vec<String> = path.split(':').map(|dir| format!("{dir}/{name}")).collect();
        if name.contains('/') {
            candidates = vec![name.clone()];
        }
        match candidates.into_iter().find(|c| is_program(c)) {
            Some(found) => crate::say::out(format!("{found}\n")),
            None => missing = 1,
        }
    }
    missing
}
