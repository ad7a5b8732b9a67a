//! Parts of answers about files: dates, ranges, listings.

use std::path::Path;
use std::time::SystemTime;

use super::answer::Draft;
use crate::net::url::html;

pub(super) fn http_date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map(|t| t.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or_default()
}

/// One byte range. `None`: none that is understood, send all. `Err`: outside of the file.
pub(super) fn range_of(header: &str, size: usize) -> Option<Result<(usize, usize), ()>> {
    let (from, to) = header.strip_prefix("bytes=")?.split_once('-')?;
    if to.contains(',') {
        return None;
    }
    let range = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to.saturating_add(1).min(size)),
        (Ok(from), Err(_)) if to.is_empty() => (from, size),
        (Err(_), Ok(last)) if from.is_empty() => (size.saturating_sub(last), size),
        _ => return None,
    };
    Some(if range.0 >= size { Err(()) } else { Ok(range) })
}

pub(super) fn listing(full: &Path, path: &str) -> Draft {
    let mut lines = String::new();
    let mut entries: Vec<(bool, String, SystemTime, u64)> = std::fs::read_dir(full)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| {
            let meta = std::fs::metadata(e.path()).ok()?;
            let name = e.file_name().to_string_lossy().into_owned();
            (!name.starts_with('.')).then(|| {
                (
                    !meta.is_dir(),
                    name,
                    meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                    meta.len(),
                )
            })
        })
        .collect();
    entries.sort();
    for (file, name, when, size) in entries {
        let slash = if file { "" } else { "/" };
        let seconds = when
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let when = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(0))
            .map(|t| t.strftime("%d-%b-%Y %H:%M").to_string());
        let size = if file { size.to_string() } else { "-".to_owned() };
        let shown = format!("{name}{slash}");
        let pad = " ".repeat(51usize.saturating_sub(shown.chars().count()));
        lines.push_str(&format!(
            "<a href=\"{0}\">{0}</a>{pad}{1} {size:>19}\r\n",
            html(&shown),
            when.unwrap_or_default()
        ));
    }
    let title = html(path);
    let body = format!(
        "<html>\r\n<head><title>Index of {title}</title></head>\r\n<body>\r\n<h1>Index of {title}</h1><hr><pre><a href=\"../\">../</a>\r\n{lines}</pre><hr></body>\r\n</html>\r\n"
    );
    Draft {
        status: 200,
        headers: vec![("Content-Type".to_owned(), "text/html".to_owned())],
        body: body.into_bytes(),
        bare: false,
    }
}
