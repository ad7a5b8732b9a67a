//! Quantities of resources: `100m`, `1.5Gi`, `2e3`.

use std::cmp::Ordering;

/// Nano-units: the finest that Kubernetes keeps.
const NANO: i128 = 1_000_000_000;

/// How a quantity is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `1500m`, `2k`
    #[default]
    DecimalSi,
    /// `512Mi`
    BinarySi,
    /// `2e3`
    DecimalExponent,
}

impl Format {
    /// The format of a quantity as somebody wrote it.
    pub fn of(text: &str) -> Self {
        match text.find(['e', 'E']) {
            _ if text.ends_with('i') => Self::BinarySi,
            // `5E` is five exa.
            Some(at) if at + 1 < text.len() => Self::DecimalExponent,
            _ => Self::DecimalSi,
        }
    }
}

/// An amount of CPU, memory or whatever else is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i128);

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Parses the text form; `None` if it is none. Amounts too large to represent are capped, amounts finer than a
    /// billionth are rounded up.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, rest) = match text.as_bytes().first()? {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (1, text),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (numerator, denominator) = unit(suffix)?;
        let mut amount = digits(whole)?.saturating_mul(NANO);
        // Digits past the eighteenth cannot change a nano-unit of even the largest unit by more than rounding.
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
            let value = digits(fraction)?.saturating_mul(NANO).saturating_mul(numerator);
            let divisor = scale.saturating_mul(denominator);
            amount = amount.saturating_mul(numerator) / denominator;
            amount = amount.saturating_add((value + divisor - 1) / divisor);
        } else {
            let scaled = amount.saturating_mul(numerator);
            amount = scaled / denominator + i128::from(scaled % denominator != 0);
        }
        Some(Self(amount.saturating_mul(sign)))
    }

    /// The quantity in a JSON value, which may be a number or text.
    pub fn of(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::String(text) => Self::parse(text),
            serde_json::Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    /// Whole units, rounded up.
    pub fn units(self) -> i128 {
        self.0.div_euclid(NANO) + i128::from(self.0.rem_euclid(NANO) != 0)
    }

    /// Thousandths, rounded up.
    pub fn milli(self) -> i128 {
        self.0.div_euclid(NANO / 1000) + i128::from(self.0.rem_euclid(NANO / 1000) != 0)
    }

    /// Whether it is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.0 % NANO == 0
    }

    /// Whether it is a whole number of thousandths.
    pub fn is_whole_milli(self) -> bool {
        self.0 % (NANO / 1000) == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.cmp(&Self::ZERO) == Ordering::Less
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// A whole number.
    pub fn from_units(units: usize) -> Self {
        Self(i128::try_from(units).unwrap_or(i128::MAX).saturating_mul(NANO))
    }

    /// The same amount on the other side of zero.
    #[must_use]
    pub fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }

    /// The canonical form: the largest unit that leaves no fraction.
    pub fn to_text(self, format: Format) -> String {
        const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        let scale = |mut amount: i128, base: i128, most: usize| {
            let mut steps = 0;
            while amount != 0 && steps < most && amount % base == 0 {
                amount /= base;
                steps += 1;
            }
            (amount, steps)
        };
        // Small amounts and fractions are not written in powers of two.
        if format == Format::BinarySi && self.is_whole() && self.0.abs() >= 1024 * NANO {
            let (amount, steps) = scale(self.0 / NANO, 1024, BINARY.len() - 1);
            return format!("{amount}{}", BINARY[steps]);
        }
        if self == Self::ZERO {
            return "0".to_owned();
        }
        let (amount, steps) = scale(self.0, 1000, DECIMAL.len() - 1);
        match (format, steps) {
            (_, 3) => amount.to_string(),
            (Format::DecimalExponent, steps) => {
                let exponent = 3 * i32::try_from(steps).unwrap_or(0) - 9;
                format!("{amount}e{exponent}")
            }
            (_, steps) => format!("{amount}{}", DECIMAL[steps]),
        }
    }
}

fn digits(text: &str) -> Option<i128> {
    text.bytes().try_fold(0_i128, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum.saturating_mul(10).saturating_add(i128::from(byte - b'0')))
    })
}

/// What a suffix multiplies by, as a fraction.
fn unit(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1_i128 << (10 * power), 1));
    let decimal = |power: u32| Some((10_i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let magnitude = 10_i128.pow(power.unsigned_abs().min(18));
            Some(if power < 0 { (1, magnitude) } else { (magnitude, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_and_fractions_are_read() {
        for (text, milli) in [
            ("0", 0),
            ("1", 1000),
            ("100m", 100),
            ("0.5", 500),
            (".5", 500),
            ("5.", 5000),
            ("1.5k", 1_500_000),
            ("1Ki", 1_024_000),
            ("0.5Mi", 524_288_000),
            ("2e3", 2_000_000),
            ("2E-1", 200),
            ("1u", 1),
            ("-1", -1000),
            ("+1", 1000),
        ] {
            assert_eq!(Quantity::parse(text).map(Quantity::milli), Some(milli), "{text}");
        }
        for text in ["", "x", "1x", "1.2.3", "Ki", "1 Gi", "-", "1e", "1gi", "."] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn quantities_are_written_in_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("2000", "2k"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1000Ki", "1000Ki"),
            ("5E", "5E"),
            ("2e3", "2e3"),
            ("-1024Ki", "-1Mi"),
        ] {
            let quantity = Quantity::parse(text).expect("a quantity");
            assert_eq!(quantity.to_text(Format::of(text)), canonical, "{text}");
        }
    }

    #[test]
    fn quantities_compare_by_amount() {
        let quantity = |text| Quantity::parse(text).expect("a quantity");
        assert_eq!(quantity("1000m"), quantity("1"));
        assert!(quantity("1Gi") > quantity("1G"));
        assert!(quantity("999999999999999999999999999999999999999999E") > quantity("1E"));
        assert_eq!(quantity("1.5").units(), 2);
        assert!(quantity("1500m").is_whole_milli() && !quantity("1500m").is_whole());
    }
}
