//! `ulimit`.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use super::Shell;

const LIMITS: &[(char, Resource, u64, &str)] = &[
    ('c', Resource::RLIMIT_CORE, 512, "core file size (blocks)"),
    ('d', Resource::RLIMIT_DATA, 1024, "data seg size (kb)"),
    ('f', Resource::RLIMIT_FSIZE, 512, "file size (blocks)"),
    ('n', Resource::RLIMIT_NOFILE, 1, "open files"),
    ('s', Resource::RLIMIT_STACK, 1024, "stack size (kb)"),
    ('t', Resource::RLIMIT_CPU, 1, "cpu time (seconds)"),
    ('u', Resource::RLIMIT_NPROC, 1, "max user processes"),
    ('v', Resource::RLIMIT_AS, 1024, "virtual memory (kb)"),
];

/// `ulimit [-HS] [-acdfnstuv] [LIMIT]`
pub(super) fn ulimit(shell: &mut Shell, words: &[String]) -> Result<String, String> {
    let (mut hard, mut soft, mut all, mut which, mut value) = (false, false, false, 'f', None);
    for word in &words[1..] {
        match word.strip_prefix('-') {
            Some(letters) if !letters.is_empty() => {
                for letter in letters.chars() {
                    match letter {
                        'H' => hard = true,
                        'S' => soft = true,
                        'a' => all = true,
                        other => which = other,
                    }
                }
            }
            _ => value = Some(word),
        }
    }
    let _ = shell;
    let show = |limit: u64, unit: u64| {
        if limit == RLIM_INFINITY {
            "unlimited".to_owned()
        } else {
            (limit / unit).to_string()
        }
    };
    let current = |resource| {
        let (s, h) = getrlimit(resource).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
        if hard && !soft { h } else { s }
    };
    if all {
        let lines = LIMITS
            .iter()
            .map(|(c, r, unit, name)| format!("{name:<26} (-{c}) {}\n", show(current(*r), *unit)));
        return Ok(lines.collect());
    }
    let Some((_, resource, unit, _)) = LIMITS.iter().find(|(c, ..)| *c == which) else {
        return Err(format!("ulimit: bad option -{which}"));
    };
    let Some(value) = value else {
        return Ok(format!("{}\n", show(current(*resource), *unit)));
    };
    let new = match value.as_str() {
        "unlimited" => RLIM_INFINITY,
        text => text
            .parse::<u64>()
            .map_err(|_| format!("ulimit: bad number '{text}'"))?
            .saturating_mul(*unit),
    };
    let (s, h) = getrlimit(*resource).map_err(|e| format!("ulimit: {}", e.desc()))?;
    let both = hard == soft;
    let (s, h) = (if soft || both { new } else { s }, if hard || both { new } else { h });
    setrlimit(*resource, s, h).map_err(|e| format!("ulimit: error setting limit ({})", e.desc()))?;
    Ok(String::new())
}
