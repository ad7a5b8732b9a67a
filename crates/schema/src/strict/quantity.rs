//! Quantities: their syntax, and the one canonical way to write each.

/// A number with a suffix. Kubernetes keeps nine decimals and rounds the rest up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `m`, `k`, `M` ...
    Decimal,
    /// `Ki`, `Mi` ...
    Binary,
    /// `e3`, `E6` ...
    Exponent,
}

const NANO: i128 = 1_000_000_000;
const FORMAT: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";
const NUMERIC: &str = "unable to parse numeric part of quantity";
/// 2^63-1, where Kubernetes caps every quantity, in nanos.
const MAX: i128 = i64::MAX as i128 * NANO;

impl Quantity {
    pub(super) fn parse(text: &str) -> Result<Quantity, &'static str> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        if number.is_empty() || !suffix_is_well_formed(suffix) {
            return Err(FORMAT);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(if fraction.contains('.') { FORMAT } else { NUMERIC });
        }
        let (format, scale) = interpret(suffix).ok_or(SUFFIX)?;
        let nanos = scaled(whole, fraction, scale);
        Ok(Quantity {
            nanos: if negative { -nanos } else { nanos },
            format,
        })
    }

    /// No fraction, the biggest suffix that allows it, no precision lost: `0.5` is `500m`, `1024Mi` is `1Gi`.
    pub(super) fn canonical(self) -> String {
        if self.nanos == 0 {
            return "0".into();
        }
        let small = self.nanos.abs() < 1024 * NANO;
        if self.format == Format::Binary && !small {
            let mut amount = self.nanos.div_euclid(NANO) + i128::from(self.nanos.rem_euclid(NANO) > 0);
            let mut power = 0;
            while amount % 1024 == 0 && power < 6 {
                amount /= 1024;
                power += 1;
            }
            return format!("{amount}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut amount, mut exponent) = (self.nanos, -9);
        while amount % 1000 == 0 && exponent < 18 {
            amount /= 1000;
            exponent += 3;
        }
        if self.format == Format::Exponent {
            return if exponent == 0 {
                amount.to_string()
            } else {
                format!("{amount}e{exponent}")
            };
        }
        let index = usize::try_from((exponent + 9) / 3).unwrap_or_default();
        format!("{amount}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][index])
    }
}

fn suffix_is_well_formed(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    rest.bytes().all(|b| b.is_ascii_digit())
}

/// What a suffix multiplies by: ten to a power, or two to a power.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn interpret(suffix: &str) -> Option<(Format, Scale)> {
    let decimal = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    if let Some((_, power)) = decimal.iter().find(|(name, _)| *name == suffix) {
        return Some((Format::Decimal, Scale::Ten(*power)));
    }
    let binary = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
    if let Some((_, power)) = binary.iter().find(|(name, _)| *name == suffix) {
        return Some((Format::Binary, Scale::Two(*power)));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((Format::Exponent, Scale::Ten(exponent)))
}

/// The number in nanos, rounded up, capped.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // What is beyond these many digits only says whether to round up, or that the cap is passed.
    let digits: String = whole.chars().chain(fraction.chars()).collect();
    let digits = digits.trim_start_matches('0');
    let mut point = fraction.len() as i64;
    let kept = &digits[..digits.len().min(30)];
    let cut = (digits.len() - kept.len()) as i64;
    point -= cut;
    let rounds = digits[kept.len()..].bytes().any(|b| b != b'0');
    let number = kept.parse::<i128>().unwrap_or(0);
    if number == 0 {
        return 0;
    }
    let (power, shift) = match scale {
        Scale::Ten(power) => (i64::from(power) + 9 - point, 0),
        Scale::Two(shift) => (9 - point, shift),
    };
    let mut number = number;
    let mut up = rounds;
    // Multiply first (so that .5Ki is exact), then divide.
    for _ in 0..shift {
        match number.checked_mul(2) {
            Some(doubled) => number = doubled,
            None => return MAX,
        }
    }
    for _ in 0..power.clamp(0, 60) {
        match number.checked_mul(10) {
            Some(more) => number = more,
            None => return MAX,
        }
    }
    for _ in 0..(-power).clamp(0, 60) {
        up |= number % 10 != 0;
        number /= 10;
    }
    (number + i128::from(up)).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_quantity_has_one_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("1", "1"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("100m", "100m"),
            (".1", "100m"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("64Mi", "64Mi"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("1Ki", "1Ki"),
            ("-2", "-2"),
            ("+3", "3"),
            ("1e3", "1e3"),
            ("12E6", "12e6"),
            ("100e-1", "10"),
            ("0.1n", "1n"),
            ("1.0000000001", "1000000001n"),
            ("99999999999999999999", "9223372036854775807"),
            ("1E", "1E"),
            ("1e90", "9223372036854775807"),
            ("128974848", "128974848"),
            ("129M", "129M"),
            ("123Mi", "123Mi"),
        ] {
            assert_eq!(
                Quantity::parse(text).map(Quantity::canonical).as_deref(),
                Ok(canonical),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_in_kubernetes_words() {
        for (text, error) in [
            ("", FORMAT),
            ("abc", FORMAT),
            ("1 Gi", FORMAT),
            ("1,5", FORMAT),
            ("true", FORMAT),
            ("1.2.3", FORMAT),
            ("10MB", FORMAT),
            ("1mi", SUFFIX),
            ("5ki", SUFFIX),
            ("1K", SUFFIX),
            (".", NUMERIC),
            ("1e", SUFFIX),
        ] {
            assert_eq!(Quantity::parse(text), Err(error), "{text:?}");
        }
    }
}
