//! Kubernetes quantities (`250m`, `128Mi`) and the short forms shown in cells.

/// Parses a Kubernetes quantity into thousandths of its base unit, rounded up; `None` when it is malformed.
pub fn parse_quantity(text: &str) -> Option<i128> {
    knarr_apimachinery::Quantity::parse(text)
        .ok()
        .map(|quantity| quantity.milli())
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
