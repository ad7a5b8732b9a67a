//! `tar`: creating, listing and extracting archives. `kubectl cp` runs `tar cf - PATH` and `tar -xmf - -C DIR` in the container.
//!
//! Extracting trusts nothing in the archive: names that are absolute or climb are refused, and nothing is written through a link that leads
//! out of the target directory.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::say::{fail, reason};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    List,
    Extract,
}

#[derive(Default)]
struct Options {
    mode: Option<Mode>,
    file: Option<String>,
    directory: Option<PathBuf>,
    gzip: bool,
    verbose: bool,
    no_mtime: bool,
    to_stdout: bool,
    keep_modes: bool,
    strip: usize,
    exclude: Vec<String>,
    names: Vec<String>,
}

pub(crate) fn main(args: &[String]) -> i32 {
    let options = match parse(&args[1..]) {
        Ok(options) => options,
        Err(message) => {
            fail("tar", message);
            return 2;
        }
    };
    let result = match options.mode {
        Some(Mode::Create) => create(&options),
        Some(_) => read(&options),
        None => Err("must specify one of -c, -x, -t".to_owned()),
    };
    match result {
        Ok(0) => 0,
        Ok(_) => {
            fail("tar", "Exiting with failure status due to previous errors");
            2
        }
        Err(message) => {
            fail("tar", message);
            2
        }
    }
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut rest = args.iter();
    let mut first = true;
    while let Some(arg) = rest.next() {
        if let Some(long) = arg.strip_prefix("--") {
            let (name, inline) = long
                .split_once('=')
                .map_or((long, None), |(n, v)| (n, Some(v.to_owned())));
            let mut value = || inline.clone().or_else(|| rest.next().cloned()).unwrap_or_default();
            match name {
                "" => {
                    options.names.extend(rest.by_ref().cloned());
                    break;
                }
                "create" => options.mode = Some(Mode::Create),
                "extract" | "get" => options.mode = Some(Mode::Extract),
                "list" => options.mode = Some(Mode::List),
                "file" => options.file = Some(value()),
                "directory" => options.directory = Some(value().into()),
                "gzip" => options.gzip = true,
                "verbose" => options.verbose = true,
                "touch" => options.no_mtime = true,
                "to-stdout" => options.to_stdout = true,
                "strip-components" => {
                    options.strip = value().parse().map_err(|_| "invalid number of elements".to_owned())?
                }
                "exclude" => options.exclude.push(value()),
                "preserve-permissions" | "same-permissions" => options.keep_modes = true,
                "no-same-owner"
                | "same-owner"
                | "no-same-permissions"
                | "overwrite"
                | "numeric-owner"
                | "warning"
                | "no-overwrite-dir"
                | "sparse" => {}
                other => return Err(format!("unrecognized option '--{other}'")),
            }
            continue;
        }
        let dashed = arg.strip_prefix('-').filter(|l| !l.is_empty());
        // The first word may leave its dash out: `tar cf - x`. Its values then follow in order.
        let Some(letters) = dashed.or_else(|| first.then_some(arg.as_str())) else {
            options.names.push(arg.clone());
            continue;
        };
        first = false;
        for (i, letter) in letters.char_indices() {
            let tail = &letters[i + letter.len_utf8()..];
            let mut inside = false;
            let mut value = |rest: &mut std::slice::Iter<'_, String>| {
                if dashed.is_some() && !tail.is_empty() {
                    inside = true;
                    return Some(tail.to_owned());
                }
                rest.next().cloned()
            };
            let need =
                |value: Option<String>| value.ok_or_else(|| format!("option requires an argument -- '{letter}'"));
            match letter {
                'c' => options.mode = Some(Mode::Create),
                'x' => options.mode = Some(Mode::Extract),
                't' => options.mode = Some(Mode::List),
                'f' => options.file = Some(need(value(&mut rest))?),
                'C' => options.directory = Some(need(value(&mut rest))?.into()),
                'X' | 'T' => drop(need(value(&mut rest))?),
                'z' => options.gzip = true,
                'v' => options.verbose = true,
                'm' => options.no_mtime = true,
                'O' => options.to_stdout = true,
                'p' => options.keep_modes = true,
                'h' | 'o' | 'k' | 'S' | 'B' | 'a' => {}
                other => return Err(format!("invalid option -- '{other}'")),
            }
            if inside {
                break;
            }
        }
    }
    Ok(options)
}

fn create(options: &Options) -> Result<usize, String> {
    if options.names.is_empty() {
        return Err("Cowardly refusing to create an empty archive".to_owned());
    }
    let name = options.file.as_deref().unwrap_or("-");
    let target: Box<dyn Write> = if name == "-" {
        Box::new(std::io::BufWriter::with_capacity(64 * 1024, std::io::stdout()))
    } else {
        Box::new(File::create(name).map_err(|e| format!("can't open '{name}': {}", reason(&e)))?)
    };
    if let Some(dir) = &options.directory {
        std::env::set_current_dir(dir)
            .map_err(|e| format!("can't change directory to '{}': {}", dir.display(), reason(&e)))?;
    }
    // Errors are told before the archive's end: `kubectl cp` stops listening when it has come. And when there is nothing to put into one,
    // there is none.
    let missing = |name: &&String| std::fs::symlink_metadata(name.as_str()).is_err();
    let mut failures = 0;
    for name in options.names.iter().filter(missing) {
        fail("tar", format!("{name}: Cannot stat: No such file or directory"));
        failures += 1;
    }
    if failures == options.names.len() {
        return Ok(failures);
    }
    let target: Box<dyn Write> = if options.gzip {
        Box::new(GzEncoder::new(target, flate2::Compression::default()))
    } else {
        target
    };
    let mut builder = tar::Builder::new(target);
    builder.follow_symlinks(false);
    let mut warned = false;
    for name in options.names.iter().filter(|name| !missing(name)) {
        let path = Path::new(name);
        let stripped: PathBuf = path
            .components()
            .filter(|c| !matches!(c, Component::RootDir | Component::Prefix(_)))
            .collect();
        if path.is_absolute() && !std::mem::replace(&mut warned, true) {
            let _ = writeln!(std::io::stderr(), "tar: removing leading '/' from member names");
        }
        let inside = if stripped.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            stripped
        };
        failures += append(&mut builder, path, &inside, options);
    }
    builder
        .into_inner()
        .and_then(|mut target| target.flush())
        .map_err(|e| format!("write error: {}", reason(&e)))?;
    Ok(failures)
}

/// Adds a file or a tree. What cannot be read is reported and left out.
fn append(builder: &mut tar::Builder<Box<dyn Write>>, path: &Path, name: &Path, options: &Options) -> usize {
    // An explicit stack: a deep tree must not use up the thread's.
    let mut todo = vec![(path.to_owned(), name.to_owned())];
    let mut failures = 0;
    while let Some((path, name)) = todo.pop() {
        if options
            .exclude
            .iter()
            .any(|p| crate::sh::pattern::matches(p, &name.to_string_lossy()))
        {
            continue;
        }
        let result = std::fs::symlink_metadata(&path).and_then(|meta| {
            if options.verbose {
                let slash = if meta.is_dir() { "/" } else { "" };
                let _ = writeln!(std::io::stderr(), "{}{slash}", name.display());
            }
            if meta.is_dir() {
                builder.append_dir(name.join(""), &path)?;
                let mut inner: Vec<_> = std::fs::read_dir(&path)?.flatten().map(|e| e.file_name()).collect();
                inner.sort();
                todo.extend(inner.into_iter().rev().map(|n| (path.join(&n), name.join(&n))));
                Ok(())
            } else if meta.is_file() || meta.is_symlink() {
                builder.append_path_with_name(&path, &name)
            } else {
                // Sockets, devices and pipes have no content to copy.
                let _ = writeln!(
                    std::io::stderr(),
                    "tar: {}: not a regular file; ignored",
                    path.display()
                );
                Ok(())
            }
        });
        if let Err(error) = result {
            fail("tar", format!("{}: {}", path.display(), reason(&error)));
            failures += 1;
        }
    }
    failures
}

fn read(options: &Options) -> Result<usize, String> {
    let name = options.file.as_deref().unwrap_or("-");
    let source: Box<dyn Read> = if name == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(name).map_err(|e| format!("can't open '{name}': {}", reason(&e)))?)
    };
    // Compressed archives show by their first bytes; -z is not needed, as in today's tars.
    let mut start = Vec::new();
    let mut source = source;
    (&mut source).take(2).read_to_end(&mut start).map_err(|e| reason(&e))?;
    let zipped = start == [0x1f, 0x8b];
    let whole = std::io::Cursor::new(start).chain(source);
    let source: Box<dyn Read> = if zipped {
        Box::new(MultiGzDecoder::new(whole))
    } else {
        Box::new(whole)
    };
    if let Some(dir) = &options.directory {
        std::env::set_current_dir(dir)
            .map_err(|e| format!("can't change directory to '{}': {}", dir.display(), reason(&e)))?;
    }
    let mut archive = tar::Archive::new(source);
    let mut failures = 0;
    // Directories get their final modes at the end, or a read-only one could not be filled.
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    for entry in archive.entries().map_err(|e| reason(&e))? {
        let mut entry = entry.map_err(|e| format!("invalid tar archive: {}", reason(&e)))?;
        let path = entry.path().map_err(|e| reason(&e))?.into_owned();
        let shown = path.to_string_lossy().into_owned();
        let wanted = options.names.is_empty()
            || options.names.iter().any(|n| {
                let n = n.trim_start_matches("./").trim_end_matches('/');
                let p = shown.trim_start_matches("./");
                p == n || p.strip_prefix(n).is_some_and(|rest| rest.starts_with('/'))
            });
        if !wanted || options.exclude.iter().any(|p| crate::sh::pattern::matches(p, &shown)) {
            continue;
        }
        if options.mode == Some(Mode::List) {
            list(&entry, &shown, options);
            continue;
        }
        if options.verbose {
            let _ = writeln!(std::io::stderr(), "{}", printable(&shown));
        }
        if options.to_stdout {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|e| reason(&e))?;
            crate::say::out(bytes);
            continue;
        }
        if let Err(message) = extract(&mut entry, &path, options, &mut modes) {
            fail("tar", format!("{}: {message}", printable(&shown)));
            failures += 1;
        }
    }
    for (path, mode) in modes.into_iter().rev() {
        use std::os::unix::fs::PermissionsExt;
        let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    }
    Ok(failures)
}

/// Names from an archive end on a terminal: no control characters.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn list(entry: &tar::Entry<'_, impl Read>, shown: &str, options: &Options) {
    let header = entry.header();
    if !options.verbose {
        crate::say::out(format!("{}\n", printable(shown)));
        return;
    }
    let kind = match header.entry_type() {
        tar::EntryType::Directory => 'd',
        tar::EntryType::Symlink => 'l',
        _ => '-',
    };
    let mode = header.mode().unwrap_or(0);
    let bits: String = (0..9)
        .rev()
        .map(|i| if mode >> i & 1 == 1 { b"xwr"[i % 3] as char } else { '-' })
        .collect();
    let time = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
    let when = jiff::Timestamp::from_second(time)
        .map(|t| t.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default();
    let link = entry
        .link_name()
        .ok()
        .flatten()
        .map(|l| format!(" -> {}", printable(&l.to_string_lossy())))
        .unwrap_or_default();
    let owner = format!("{}/{}", header.uid().unwrap_or(0), header.gid().unwrap_or(0));
    crate::say::out(format!(
        "{kind}{bits} {owner} {:>9} {when} {}{link}\n",
        entry.size(),
        printable(shown)
    ));
}

/// Where an entry goes, relative to the current directory. Refuses what would leave it.
fn place(path: &Path, strip: usize) -> Result<Option<PathBuf>, String> {
    let mut inside = PathBuf::new();
    let mut skipped = 0;
    for part in path.components() {
        match part {
            Component::Normal(name) if skipped >= strip => inside.push(name),
            Component::Normal(_) => skipped += 1,
            Component::CurDir => {}
            Component::ParentDir => return Err("name contains '..', refused".to_owned()),
            Component::RootDir | Component::Prefix(_) => return Err("absolute name, refused".to_owned()),
        }
    }
    Ok((!inside.as_os_str().is_empty()).then_some(inside))
}

/// Makes the directories above `path`. A link among them would lead the entry elsewhere: refused unless it stays inside.
fn parents(path: &Path) -> Result<(), String> {
    let base = std::env::current_dir()
        .and_then(std::fs::canonicalize)
        .map_err(|e| reason(&e))?;
    let mut so_far = PathBuf::new();
    for part in path.parent().unwrap_or(Path::new("")).components() {
        so_far.push(part);
        match std::fs::symlink_metadata(&so_far) {
            Ok(meta) if meta.is_symlink() => {
                let real = std::fs::canonicalize(&so_far).map_err(|e| reason(&e))?;
                if !real.starts_with(&base) || !real.is_dir() {
                    return Err(format!(
                        "'{}' is a link that leads out of the directory, refused",
                        so_far.display()
                    ));
                }
            }
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(format!("'{}' is not a directory", so_far.display())),
            Err(_) => std::fs::create_dir(&so_far).map_err(|e| reason(&e))?,
        }
    }
    Ok(())
}

fn extract(
    entry: &mut tar::Entry<'_, impl Read>,
    path: &Path,
    options: &Options,
    modes: &mut Vec<(PathBuf, u32)>,
) -> Result<(), String> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let text = |e: std::io::Error| reason(&e);
    let Some(inside) = place(path, options.strip)? else {
        return Ok(());
    };
    parents(&inside)?;
    let kind = entry.header().entry_type();
    let mut mode = entry.header().mode().unwrap_or(0o644) & 0o7777;
    if !options.keep_modes && !nix::unistd::geteuid().is_root() {
        mode &= 0o777;
    }
    let there = std::fs::symlink_metadata(&inside).ok();
    match kind {
        tar::EntryType::Directory => {
            match there {
                Some(meta) if meta.is_dir() => {}
                Some(meta) if meta.is_symlink() && inside.is_dir() => return parents(&inside.join("x")),
                Some(_) => {
                    std::fs::remove_file(&inside).map_err(text)?;
                    std::fs::create_dir(&inside).map_err(text)?;
                }
                None => std::fs::create_dir(&inside).map_err(text)?,
            }
            modes.push((inside, mode));
            return Ok(());
        }
        tar::EntryType::Symlink => {
            let target = entry
                .link_name()
                .map_err(text)?
                .ok_or("link without a target")?
                .into_owned();
            if there.is_some_and(|m| !m.is_dir()) {
                std::fs::remove_file(&inside).map_err(text)?;
            }
            // A link may point anywhere; what matters is that nothing is written through it, see `parents` and below.
            return std::os::unix::fs::symlink(target, &inside).map_err(text);
        }
        tar::EntryType::Link => {
            let target = entry
                .link_name()
                .map_err(text)?
                .ok_or("link without a target")?
                .into_owned();
            let Some(target) = place(&target, options.strip)? else {
                return Ok(());
            };
            parents(&target)?;
            if std::fs::symlink_metadata(&target).map_err(text)?.is_symlink() {
                return Err("hard link to a link, refused".to_owned());
            }
            if there.is_some() {
                std::fs::remove_file(&inside).map_err(text)?;
            }
            return std::fs::hard_link(&target, &inside).map_err(text);
        }
        kind if kind.is_file() || kind == tar::EntryType::Continuous => {}
        _ => return Err("special file, skipped".to_owned()),
    }
    match there {
        Some(meta) if meta.is_dir() => return Err("Is a directory".to_owned()),
        // The old file goes first: writing into it would follow a link, or change other hard links.
        Some(_) => std::fs::remove_file(&inside).map_err(text)?,
        None => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&inside)
        .map_err(text)?;
    std::io::copy(entry, &mut file).map_err(text)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(text)?;
    if !options.no_mtime
        && let Ok(seconds) = entry.header().mtime()
    {
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(1 << 40));
        let _ = file.set_modified(time);
    }
    Ok(())
}
