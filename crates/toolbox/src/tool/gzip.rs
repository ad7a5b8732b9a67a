//! `gzip`, `gunzip` and `zcat`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::say::{fail, reason};

#[derive(Clone, Copy)]
struct Options {
    decompress: bool,
    to_stdout: bool,
    keep: bool,
    force: bool,
    test: bool,
    level: Compression,
}

/// `gzip [-cdfkt1-9] [FILE...]`; under its other names it decompresses, to standard output as `zcat`.
pub(crate) fn main(args: &[String]) -> i32 {
    let called = args
        .first()
        .map_or("gzip", |name| name.rsplit('/').next().unwrap_or(name));
    let mut options = Options {
        decompress: called != "gzip",
        to_stdout: called == "zcat",
        keep: false,
        force: false,
        test: false,
        level: Compression::default(),
    };
    let mut files = Vec::new();
    for arg in &args[1..] {
        let letters = match arg.as_str() {
            "-" => "",
            "--decompress" | "--uncompress" => "d",
            "--stdout" | "--to-stdout" => "c",
            "--keep" => "k",
            "--force" => "f",
            "--test" => "t",
            "--fast" => "1",
            "--best" => "9",
            "--quiet" | "--no-name" | "--name" | "--verbose" => continue,
            other => match other.strip_prefix('-') {
                Some(letters) => letters,
                None => {
                    files.push(arg.clone());
                    continue;
                }
            },
        };
        if letters.is_empty() {
            files.push(arg.clone());
        }
        for letter in letters.chars() {
            match letter {
                'd' => options.decompress = true,
                'c' => options.to_stdout = true,
                'k' => options.keep = true,
                'f' => options.force = true,
                't' => (options.test, options.decompress) = (true, true),
                'n' | 'N' | 'q' | 'v' => {}
                '1'..='9' => options.level = Compression::new(u32::from(letter) - u32::from('0')),
                other => return fail(called, format!("invalid option -- '{other}'")),
            }
        }
    }
    if files.is_empty() {
        files.push("-".into());
    }
    let mut status = 0;
    for file in &files {
        if let Err(message) = one(file, options) {
            status = fail(called, message);
        }
    }
    status
}

fn one(name: &str, options: Options) -> Result<(), String> {
    if name == "-" {
        return convert(std::io::stdin().lock(), std::io::stdout().lock(), options).map_err(|e| bad("stdin", &e));
    }
    let path = Path::new(name);
    let source = File::open(path).map_err(|e| bad(name, &e))?;
    if path.is_dir() {
        return Err(format!("{name}: is a directory -- ignored"));
    }
    if options.to_stdout || options.test {
        return convert(source, std::io::stdout().lock(), options).map_err(|e| bad(name, &e));
    }
    let target = target(name, options.decompress)?;
    if target.exists() && !options.force {
        return Err(format!("{} already exists; not overwritten", target.display()));
    }
    let output = File::create(&target).map_err(|e| bad(&target.to_string_lossy(), &e))?;
    if let Err(error) = convert(source, output, options) {
        let _ = std::fs::remove_file(&target); // half a file is worse than none
        return Err(bad(name, &error));
    }
    if let Ok(found) = std::fs::metadata(path) {
        let _ = std::fs::set_permissions(&target, found.permissions());
    }
    if !options.keep {
        std::fs::remove_file(path).map_err(|e| bad(name, &e))?;
    }
    Ok(())
}

fn target(name: &str, decompress: bool) -> Result<PathBuf, String> {
    if !decompress {
        return match name.strip_suffix(".gz") {
            Some(_) => Err(format!("{name} already has .gz suffix -- unchanged")),
            None => Ok(format!("{name}.gz").into()),
        };
    }
    if let Some(stem) = name.strip_suffix(".tgz") {
        return Ok(format!("{stem}.tar").into());
    }
    let stem = name.strip_suffix(".gz").filter(|stem| !stem.is_empty());
    stem.map(PathBuf::from)
        .ok_or_else(|| format!("{name}: unknown suffix -- ignored"))
}

fn bad(name: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => format!("{name}: not in gzip format"),
        std::io::ErrorKind::UnexpectedEof => format!("{name}: unexpected end of file"),
        _ => format!("{name}: {}", reason(error)),
    }
}

fn convert(source: impl Read, mut target: impl Write, options: Options) -> std::io::Result<()> {
    if options.decompress {
        let mut source = MultiGzDecoder::new(source);
        if options.test {
            return std::io::copy(&mut source, &mut std::io::sink()).map(drop);
        }
        std::io::copy(&mut source, &mut target)?;
    } else {
        let mut source = source;
        let mut encoder = GzEncoder::new(&mut target, options.level);
        std::io::copy(&mut source, &mut encoder)?;
        encoder.finish()?;
    }
    target.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> i32 {
        main(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_file_goes_there_and_back_and_is_never_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let (name, zipped) = (path.to_str().unwrap().to_owned(), dir.path().join("a.gz"));
        std::fs::write(&path, "hello ".repeat(1000)).unwrap();
        assert_eq!(run(&["gzip", &name]), 0);
        assert!(!path.exists() && std::fs::metadata(&zipped).unwrap().len() < 200);
        assert_eq!(run(&["gzip", "-t", zipped.to_str().unwrap()]), 0);
        assert_eq!(run(&["gunzip", "-k", zipped.to_str().unwrap()]), 0);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "hello ".repeat(1000));
        assert!(zipped.exists());
        assert_eq!(run(&["gzip", &name]), 1, "the compressed file is there already");
        assert!(path.exists());
        std::fs::write(&zipped, "no archive").unwrap();
        assert_eq!(run(&["gunzip", "-f", zipped.to_str().unwrap()]), 1);
        assert!(zipped.exists(), "what cannot be read stays");
    }
}
