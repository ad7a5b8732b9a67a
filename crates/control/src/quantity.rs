//! Reads resource quantities: `100m`, `1.5`, `64Mi`, `1e3`.

/// Value in thousandths, rounded up; saturating. `None` when it is no quantity.
pub(crate) fn millis(text: &str) -> Option<i64> {
    let text = text.trim();
    let end = text
        .char_indices()
        .find(|(index, c)| !(c.is_ascii_digit() || *c == '.' || (*index == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(index, _)| index);
    let (number, suffix) = text.split_at(end);
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
        "Mi" => 1024.0f64.powi(2),
        "Gi" => 1024.0f64.powi(3),
        "Ti" => 1024.0f64.powi(4),
        "Pi" => 1024.0f64.powi(5),
        "Ei" => 1024.0f64.powi(6),
        exponent => 10.0f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    // `as` saturates; the small step back keeps 0.1 from becoming 101m.
    Some((number * factor * 1000.0 - 1e-6).ceil() as i64)
}

/// Value in whole units, rounded up.
pub(crate) fn units(text: &str) -> Option<i64> {
    Some(millis(text)?.saturating_add(999).div_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_is_read() {
        let cases = [
            ("100m", 100),
            ("0.1", 100),
            ("2", 2000),
            ("1e3", 1_000_000),
            ("1k", 1_000_000),
            ("1Ki", 1_024_000),
            ("1u", 1),
            ("0", 0),
            ("64Mi", 67_108_864_000),
        ];
        for (text, expected) in cases {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for wrong in ["", "x", "1Q", "1.2.3", "e3", "1ex"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
        assert_eq!(units("1500m"), Some(2));
        assert_eq!(millis("9E9E"), None);
        assert_eq!(millis("900000E"), Some(i64::MAX));
    }
}
