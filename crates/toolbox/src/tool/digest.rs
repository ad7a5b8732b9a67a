//! `md5sum`, `sha1sum`, `sha256sum`, `sha512sum`.

use std::io::{BufRead, BufReader, Read};

use sha2::digest::{Digest, DynDigest};

use crate::say::{fail, out, reason};

fn new(name: &str) -> Box<dyn DynDigest> {
    match name {
        "md5sum" => Box::new(md5::Md5::new()),
        "sha1sum" => Box::new(sha1::Sha1::new()),
        "sha512sum" => Box::new(sha2::Sha512::new()),
        _ => Box::new(sha2::Sha256::new()),
    }
}

fn of(name: &str, path: &str) -> std::io::Result<String> {
    let mut source: Box<dyn Read> = if path == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path)?)
    };
    let mut hash = new(name);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

pub(crate) fn main(args: &[String]) -> i32 {
    let name = args
        .first()
        .map_or("", |n| n.rsplit('/').next().unwrap_or(n))
        .to_owned();
    let check = args.iter().any(|a| a == "-c" || a == "--check");
    let quiet = args.iter().any(|a| a == "-s" || a == "--status");
    let mut files: Vec<String> = args[1..]
        .iter()
        .filter(|a| !a.starts_with('-') || *a == "-")
        .cloned()
        .collect();
    if files.is_empty() {
        files.push("-".to_owned());
    }
    let mut status = 0;
    for file in files {
        if check {
            status |= verify(&name, &file, quiet);
            continue;
        }
        match of(&name, &file) {
            Ok(hash) => out(format!("{hash}  {file}\n")),
            Err(error) => status = fail(&name, format!("{file}: {}", reason(&error))),
        }
    }
    status
}

fn verify(name: &str, list: &str, quiet: bool) -> i32 {
    let source: Box<dyn Read> = match list {
        "-" => Box::new(std::io::stdin()),
        path => match std::fs::File::open(path) {
            Ok(file) => Box::new(file),
            Err(error) => return fail(name, format!("{list}: {}", reason(&error))),
        },
    };
    let mut failed = 0;
    for line in BufReader::new(source).lines().map_while(Result::ok) {
        let Some((hash, file)) = line.split_once([' ', '\t']) else {
            continue;
        };
        let file = file.trim_start_matches([' ', '*']);
        let good = of(name, file).is_ok_and(|own| own.eq_ignore_ascii_case(hash));
        if !quiet {
            out(format!("{file}: {}\n", if good { "OK" } else { "FAILED" }));
        }
        failed += usize::from(!good);
    }
    if failed > 0 {
        fail(name, format!("WARNING: {failed} computed checksums did NOT match"))
    } else {
        0
    }
}
