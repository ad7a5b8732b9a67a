//! `cmp` and `diff`.

use similar::{Algorithm, TextDiff};

use crate::say::{fail, out, reason};

fn load(name: &str, path: &str) -> Result<Vec<u8>, i32> {
    let bytes = if path == "-" {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut all).map(|_| all)
    } else {
        std::fs::read(path)
    };
    bytes.map_err(|error| {
        fail(name, format!("{path}: {}", reason(&error)));
        2
    })
}

/// `cmp [-s] A B`
pub(crate) fn cmp(args: &[String]) -> i32 {
    let silent = args.iter().any(|a| a == "-s");
    let files: Vec<&String> = args[1..].iter().filter(|a| !a.starts_with('-') || *a == "-").collect();
    let [a, b] = files.as_slice() else {
        fail("cmp", "usage: cmp [-s] FILE1 FILE2");
        return 2;
    };
    let (left, right) = match (load("cmp", a), load("cmp", b)) {
        (Ok(left), Ok(right)) => (left, right),
        (Err(status), _) | (_, Err(status)) => return status,
    };
    match left.iter().zip(&right).position(|(x, y)| x != y) {
        None if left.len() == right.len() => 0,
        None => {
            if !silent {
                fail(
                    "cmp",
                    format!("EOF on {}", if left.len() < right.len() { a } else { b }),
                );
            }
            1
        }
        Some(at) => {
            if !silent {
                let line = left[..at].iter().filter(|c| **c == b'\n').count() + 1;
                out(format!("{a} {b} differ: char {}, line {line}\n", at + 1));
            }
            1
        }
    }
}

/// `diff [-u] [-q] [-r] A B`: always in the unified form, as busybox.
pub(crate) fn diff(args: &[String]) -> i32 {
    let (mut quiet, mut recursive) = (false, false);
    let mut files = Vec::new();
    for arg in &args[1..] {
        match arg.strip_prefix('-').filter(|l| !l.is_empty()) {
            Some(letters) => {
                quiet |= letters.contains('q');
                recursive |= letters.contains('r');
            }
            None => files.push(arg.as_str()),
        }
    }
    let [a, b] = files.as_slice() else {
        fail("diff", "usage: diff [-uqr] FILE1 FILE2");
        return 2;
    };
    compare(a, b, quiet, recursive, 0)
}

fn compare(a: &str, b: &str, quiet: bool, recursive: bool, depth: usize) -> i32 {
    let (a_dir, b_dir) = (std::path::Path::new(a).is_dir(), std::path::Path::new(b).is_dir());
    if a_dir && b_dir {
        if depth > 0 && (!recursive || depth > 64) {
            out(format!("Common subdirectories: {a} and {b}\n"));
            return 0;
        }
        let names = |dir: &str| -> Vec<String> {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
        };
        let (left, right) = (names(a), names(b));
        let mut all: Vec<&String> = left.iter().chain(&right).collect();
        all.sort();
        all.dedup();
        let mut status = 0;
        for name in all {
            status = status.max(match (left.contains(name), right.contains(name)) {
                (true, true) => compare(
                    &format!("{a}/{name}"),
                    &format!("{b}/{name}"),
                    quiet,
                    recursive,
                    depth + 1,
                ),
                (only_left, _) => {
                    out(format!("Only in {}: {name}\n", if only_left { a } else { b }));
                    1
                }
            });
        }
        return status;
    }
    let (left, right) = match (load("diff", a), load("diff", b)) {
        (Ok(left), Ok(right)) => (left, right),
        (Err(status), _) | (_, Err(status)) => return status,
    };
    if left == right {
        return 0;
    }
    let texts = (std::str::from_utf8(&left), std::str::from_utf8(&right));
    let (Ok(left), Ok(right), false) = (texts.0, texts.1, quiet) else {
        out(format!("Files {a} and {b} differ\n"));
        return 1;
    };
    let diff = TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .timeout(std::time::Duration::from_secs(5))
        .diff_lines(left, right);
    out(diff.unified_diff().header(a, b).to_string());
    1
}
