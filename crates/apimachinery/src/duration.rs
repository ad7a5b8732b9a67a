//! Durations as Go's `time.ParseDuration` reads them.

use jiff::SignedDuration;

/// Reads a duration: `1h30m`, `-1.5s`, `500ms`, `0`. `None` if the text is not one, or it is out of range.
pub fn parse(text: &str) -> Option<SignedDuration> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|end| *end > 0)?;
        let (value, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += value.parse::<f64>().ok()? * unit;
        rest = tail;
    }
    SignedDuration::try_from_secs_f64(sign * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("1m30s", 90_000),
            ("500ms", 500),
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("1.5h", 5_400_000),
            ("+1s", 1000),
            ("-1.5s", -1500),
        ] {
            assert_eq!(parse(text), Some(SignedDuration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "-",
            "5",
            "s",
            "1x",
            "1s2",
            "1..2s",
            "1e400s",
            "99999999999999999999h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
