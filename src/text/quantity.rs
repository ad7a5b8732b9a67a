//! Kubernetes quantities (`250m`, `128Mi`) and the short forms shown in cells.

/// Parses a Kubernetes quantity into thousandths of its base unit; `None` when it is malformed or too large.
pub fn parse_quantity(text: &str) -> Option<i128> {
    let split = text
        .find(|ch: char| !(ch.is_ascii_digit() || ch == '.' || ch == '+' || ch == '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let thousandths = number * factor * 1000.0;
    (thousandths.is_finite() && thousandths.abs() < 1e36).then_some(thousandths as i128)
}

/// Bytes with a binary unit and at most three digits: `9Mi`, `1.5Gi`.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["B", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let mut size = value as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit > 0 && size < 10.0 && size.fract() >= 0.05 {
        format!("{size:.1}{}", UNITS[unit])
    } else {
        format!("{size:.0}{}", UNITS[unit])
    }
}

/// CPU in thousandths of a core, as `kubectl top` prints it: `250m`.
pub fn millicores(value: u64) -> String {
    format!("{value}m")
}

/// A count with its noun: `1 pod`, `7 pods`.
pub fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ if noun.ends_with('s') || noun.ends_with('x') => format!("{number} {noun}es"),
        _ if noun.ends_with('y') && !noun.ends_with("ay") => format!("{number} {}ies", &noun[..noun.len() - 1]),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_parse_to_thousandths() {
        assert_eq!(parse_quantity("250m"), Some(250));
        assert_eq!(parse_quantity("1"), Some(1000));
        assert_eq!(parse_quantity("1Ki"), Some(1_024_000));
        assert_eq!(parse_quantity("1e3"), Some(1_000_000));
        assert_eq!(parse_quantity("x"), None);
        assert_eq!(parse_quantity("1Zi"), None);
    }

    #[test]
    fn sizes_keep_three_digits() {
        assert_eq!(bytes(0), "0B");
        assert_eq!(bytes(9 * 1024 * 1024), "9Mi");
        assert_eq!(bytes(1536 * 1024 * 1024), "1.5Gi");
    }

    #[test]
    fn counts_agree_with_their_noun() {
        assert_eq!(count(1, "pod"), "1 pod");
        assert_eq!(count(2, "ingress"), "2 ingresses");
        assert_eq!(count(0, "policy"), "0 policies");
    }
}
