//! Resource quantities (`100m`, `1.5Gi`, `2e3`): exact, with the one canonical way to write each.
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The finest that Kubernetes keeps is ten to this power: a billionth.
const NANO: i32 = -9;
/// Where binary quantities are capped.
const MAX: i128 = i64::MAX as i128;
/// Decimal digits that always fit the unscaled number, with room for one more factor of a thousand.
const DIGITS: usize = 33;
/// Exponents beyond this say nothing: they are capped, so that arithmetic stays bounded.
const MAX_EXPONENT: i32 = 1000;

/// An amount of CPU, memory or whatever else is counted: a decimal number and the notation it was written in.
///
/// Two quantities are equal when they are the same amount, however they are written.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// The amount is this number times ten to the power of `scale`.
    unscaled: i128,
    scale: i32,
    notation: Notation,
    /// Whether upstream keeps it as a machine integer; only then does it convert to one.
    narrow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    /// `m`, `k`, `M` ...
    Decimal,
    /// `Ki`, `Mi` ...
    Binary,
    /// `e3`, `E6` ...
    Exponent,
}

/// Why a text is no quantity, in the words of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseQuantityError {
    /// Not a number followed by a suffix.
    Format,
    /// A suffix that nobody knows.
    Suffix,
    /// A number without digits.
    Numeric,
}

impl fmt::Display for ParseQuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => {
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            }
            Self::Suffix => "unable to parse quantity's suffix",
            Self::Numeric => "unable to parse numeric part of quantity",
        })
    }
}

impl std::error::Error for ParseQuantityError {}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self::new(0);

    /// A whole amount.
    pub const fn new(amount: i64) -> Self {
        Self {
            unscaled: amount as i128,
            scale: 0,
            notation: Notation::Decimal,
            narrow: true,
        }
    }

    /// So many things.
    pub fn count(things: usize) -> Self {
        Self::new(i64::try_from(things).unwrap_or(i64::MAX))
    }

    /// An amount in thousandths.
    pub const fn from_milli(amount: i64) -> Self {
        Self {
            unscaled: amount as i128,
            scale: -3,
            notation: Notation::Decimal,
            narrow: true,
        }
    }

    /// Parses the text form. Amounts finer than a billionth are rounded up.
    ///
    /// # Errors
    /// The text is no quantity.
    pub fn parse(text: &str) -> Result<Self, ParseQuantityError> {
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
            return Err(ParseQuantityError::Format);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') {
            return Err(ParseQuantityError::Format);
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(ParseQuantityError::Numeric);
        }
        let (notation, power) = interpret(suffix).ok_or(ParseQuantityError::Suffix)?;
        let mut quantity = match notation {
            Notation::Binary => binary(whole, fraction, power),
            _ => decimal(whole, fraction, power, notation),
        };
        if negative {
            quantity.unscaled = -quantity.unscaled;
        }
        Ok(quantity)
    }

    /// The quantity in a JSON value, which may be a number or text.
    pub fn of(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::String(text) => Self::parse(text).ok(),
            serde_json::Value::Number(number) => Self::parse(&number.to_string()).ok(),
            _ => None,
        }
    }

    /// Whole units in a text, rounded up; what is no quantity, or less than nothing, counts as nothing.
    pub fn units_in(text: &str) -> i64 {
        Self::parse(text.trim()).map_or(0, |quantity| counted(quantity.units()))
    }

    /// Thousandths in a text, rounded up; what is no quantity, or less than nothing, counts as nothing.
    pub fn milli_in(text: &str) -> i64 {
        Self::parse(text.trim()).map_or(0, |quantity| counted(quantity.milli()))
    }

    /// Whole units, rounded up; saturating.
    pub fn units(self) -> i128 {
        self.rounded_up(0)
    }

    /// Thousandths, rounded up; saturating.
    pub fn milli(self) -> i128 {
        self.rounded_up(-3)
    }

    /// Whether it is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.is_multiple_of(0)
    }

    /// Whether it is a whole number of thousandths.
    pub fn is_whole_milli(self) -> bool {
        self.is_multiple_of(-3)
    }

    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.unscaled < 0
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.unscaled == 0
    }

    /// -1, 0 or 1.
    pub fn sign(self) -> i64 {
        self.unscaled.signum() as i64
    }

    /// Both together, in the notation of the first (of the second if the first is nothing).
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (first, second, scale) = self.aligned(other);
        let sum = first.saturating_add(second);
        Self {
            unscaled: sum,
            scale,
            notation: if self.is_zero() { other.notation } else { self.notation },
            narrow: self.narrow && other.narrow && i64::try_from(sum).is_ok(),
        }
    }

    /// The same amount on the other side of nothing.
    #[must_use]
    pub fn negated(self) -> Self {
        Self {
            unscaled: -self.unscaled,
            ..self
        }
    }

    /// What is left when the other is taken away.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    /// As a whole number, where Kubernetes' own arithmetic has one: not for anything written with a fraction
    /// (`1000m`, `1.5Gi`) or beyond 18 digits.
    pub fn as_i64(self) -> Option<i64> {
        if !self.narrow || self.scale < 0 {
            return None;
        }
        i64::try_from(power_of_ten(self.scale)?.checked_mul(self.unscaled)?).ok()
    }

    /// As a floating point number, as near as it gets.
    pub fn as_f64(self) -> f64 {
        self.unscaled as f64 * 10f64.powi(self.scale)
    }

    fn rounded_up(self, scale: i32) -> i128 {
        let shift = self.scale - scale;
        if shift >= 0 {
            let Some(factor) = power_of_ten(shift) else {
                return if self.is_zero() {
                    0
                } else {
                    i128::MAX * self.unscaled.signum()
                };
            };
            return self.unscaled.saturating_mul(factor);
        }
        match power_of_ten(-shift) {
            Some(divisor) => self.unscaled.div_euclid(divisor) + i128::from(self.unscaled.rem_euclid(divisor) != 0),
            None => i128::from(self.unscaled > 0),
        }
    }

    fn is_multiple_of(self, scale: i32) -> bool {
        self.scale >= scale || power_of_ten(scale - self.scale).is_some_and(|unit| self.unscaled % unit == 0)
    }

    /// Both as numbers of the same scale; saturating.
    fn aligned(self, other: Self) -> (i128, i128, i32) {
        let scale = self.scale.min(other.scale);
        let at = |quantity: Self| {
            let factor = power_of_ten(quantity.scale - scale);
            match factor.and_then(|factor| quantity.unscaled.checked_mul(factor)) {
                Some(number) => number,
                None if quantity.is_zero() => 0,
                None => i128::MAX * quantity.unscaled.signum(),
            }
        };
        (at(self), at(other), scale)
    }

    /// The same amount with the fewest digits.
    fn reduced(self) -> (i128, i32) {
        if self.is_zero() {
            return (0, 0);
        }
        let (mut number, mut scale) = (self.unscaled, self.scale);
        while number % 10 == 0 {
            number /= 10;
            scale += 1;
        }
        (number, scale)
    }
}

/// The canonical form: no fraction, the biggest suffix that allows it, no precision lost. `0.5` is `500m`, `1024Mi` is
/// `1Gi`.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let small = Self::new(-1024) < *self && *self < Self::new(1024);
        if self.notation == Notation::Binary && !small && self.is_whole() {
            let mut amount = self.units();
            let mut power = 0;
            while amount % 1024 == 0 && power < 6 {
                amount /= 1024;
                power += 1;
            }
            return write!(f, "{amount}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let reduced = self.reduced();
        if self.notation != Notation::Exponent
            && let Some((number, exponent)) = in_thousands(reduced, 18)
        {
            let index = usize::try_from((exponent - NANO) / 3).unwrap_or_default();
            return write!(
                f,
                "{number}{}",
                ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][index]
            );
        }
        match in_thousands(reduced, i32::MAX).unwrap_or(reduced) {
            (number, 0) => write!(f, "{number}"),
            (number, exponent) => write!(f, "{number}e{exponent}"),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let (first, second, _) = self.aligned(*other);
        first.cmp(&second)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reduced().hash(state);
    }
}

/// The same amount with an exponent that is a multiple of three and no more than the highest; `None` if the number then
/// has too many digits.
fn in_thousands((mut number, mut exponent): (i128, i32), highest: i32) -> Option<(i128, i32)> {
    while exponent.rem_euclid(3) != 0 || exponent > highest {
        number = number.checked_mul(10)?;
        exponent -= 1;
    }
    Some((number, exponent))
}

fn counted(amount: i128) -> i64 {
    i64::try_from(amount.max(0)).unwrap_or(i64::MAX)
}

fn power_of_ten(power: i32) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(power).ok()?)
}

fn suffix_is_well_formed(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    rest.bytes().all(|b| b.is_ascii_digit())
}

/// The notation of a suffix and the power (of ten, or of two) it stands for.
fn interpret(suffix: &str) -> Option<(Notation, i32)> {
    let decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    if let Some(at) = decimal.iter().position(|name| *name == suffix) {
        return Some((Notation::Decimal, at as i32 * 3 + NANO));
    }
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(at) = binary.iter().position(|name| *name == suffix) {
        return Some((Notation::Binary, (at as i32 + 1) * 10));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((Notation::Exponent, exponent.clamp(-MAX_EXPONENT, MAX_EXPONENT)))
}

fn decimal(whole: &str, fraction: &str, power: i32, notation: Notation) -> Quantity {
    let total = whole.len() + fraction.len();
    let mut scale = power - fraction.len().min(1 << 20) as i32;
    // Upstream keeps up to 18 digits as a machine integer, anything else as a big decimal.
    let narrow = total <= 18 && scale >= NANO;
    // What is finer than a billionth only says whether to round up.
    let cut = usize::try_from(NANO - scale).unwrap_or_default();
    scale = scale.max(NANO);
    let kept = total.saturating_sub(cut);
    let (mut unscaled, mut significant, mut up) = (0_i128, 0, false);
    for (at, byte) in whole.bytes().chain(fraction.bytes()).enumerate() {
        let digit = i128::from(byte - b'0');
        if at >= kept {
            up |= digit != 0;
        } else if significant >= DIGITS {
            up |= digit != 0;
            scale = scale.saturating_add(1);
        } else {
            unscaled = unscaled * 10 + digit;
            significant += usize::from(unscaled != 0);
        }
    }
    Quantity {
        unscaled: unscaled + i128::from(up),
        scale,
        notation,
        narrow,
    }
}

fn binary(whole: &str, fraction: &str, power: i32) -> Quantity {
    let shift = 1_i128 << power;
    let capped = |amount: Option<i128>| amount.unwrap_or(MAX).min(MAX);
    let number = whole.trim_start_matches('0');
    let units = if number.len() > 19 {
        None
    } else {
        number.parse::<i128>().ok().or(Some(0))
    };
    if fraction.is_empty() {
        let amount = units.and_then(|units| units.checked_mul(shift));
        let precision = 15 - whole.len().min(1 << 20) as i32 - power * 3 / 10 - 1;
        return Quantity {
            unscaled: capped(amount),
            scale: 0,
            notation: Notation::Binary,
            narrow: precision >= 0,
        };
    }
    // Nine digits of the result count, and a factor of up to 2^60 moves nineteen more of the fraction there.
    let kept = &fraction[..fraction.len().min(28)];
    let rounds = fraction[kept.len()..].bytes().any(|digit| digit != b'0');
    let places = 10_i128.pow(kept.len() as u32);
    let Some(whole) = units
        .and_then(|units| units.checked_mul(shift))
        .filter(|whole| *whole <= MAX)
    else {
        return Quantity {
            unscaled: MAX,
            scale: 0,
            notation: Notation::Binary,
            narrow: false,
        };
    };
    let part = kept.parse::<i128>().unwrap_or(0);
    // In two steps, because the product of all three does not fit: first the whole part of the scaled fraction.
    let (high, low) = wide_mul_div(part, shift, places);
    let (nanos, rest) = wide_mul_div(low, 1_000_000_000, places);
    let nanos = nanos + i128::from(rest != 0 || rounds);
    let amount = (whole + high).min(MAX);
    let unscaled = amount * 1_000_000_000 + nanos;
    if amount == MAX {
        return Quantity {
            unscaled: MAX,
            scale: 0,
            notation: Notation::Binary,
            narrow: false,
        };
    }
    let notation = if unscaled > 0 && unscaled < 1_000_000_000 {
        Notation::Decimal
    } else {
        Notation::Binary
    };
    Quantity {
        unscaled,
        scale: NANO,
        notation,
        narrow: false,
    }
}

/// `number * factor / divisor` and the remainder, bit by bit where the product does not fit. `number < divisor`.
fn wide_mul_div(number: i128, factor: i128, divisor: i128) -> (i128, i128) {
    if let Some(product) = number.checked_mul(factor) {
        return (product / divisor, product % divisor);
    }
    let (mut quotient, mut remainder) = (0_i128, 0_i128);
    for bit in (0..128 - factor.leading_zeros()).rev() {
        remainder *= 2;
        quotient *= 2;
        if factor >> bit & 1 == 1 {
            remainder += number;
        }
        quotient += remainder / divisor;
        remainder %= divisor;
    }
    (quotient, remainder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn each_quantity_has_one_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.0", "0"),
            ("1", "1"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("5.", "5"),
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
            ("0.0001Ki", "102400u"),
            ("1.0001Ki", "1024102400u"),
            ("1Ki", "1Ki"),
            ("-1Ki", "-1Ki"),
            ("-2", "-2"),
            ("+3", "3"),
            ("1e3", "1e3"),
            ("12E6", "12e6"),
            ("100e-1", "10"),
            ("1e90", "1e90"),
            ("1e91", "10e90"),
            ("0.1n", "1n"),
            ("1.0000000001", "1000000001n"),
            ("99999999999999999999", "99999999999999999999"),
            ("9999Ei", "9223372036854775807"),
            ("9.5Ei", "9223372036854775807"),
            ("1E", "1E"),
            ("1000E", "1000E"),
            (
                "123456789012345678901234567890123456789012345E",
                "123456789012345678901234567890124e30",
            ),
            (
                "123456789012345678901234567890124e30",
                "123456789012345678901234567890124e30",
            ),
            ("128974848", "128974848"),
            ("129M", "129M"),
            ("123Mi", "123Mi"),
        ] {
            assert_eq!(quantity(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_in_kubernetes_words() {
        use ParseQuantityError::{Format, Numeric, Suffix};
        for (text, error) in [
            ("", Format),
            ("abc", Format),
            ("1 Gi", Format),
            ("1,5", Format),
            ("true", Format),
            ("1.2.3", Format),
            ("10MB", Format),
            ("-", Format),
            ("1mi", Suffix),
            ("5ki", Suffix),
            ("1K", Suffix),
            (".", Numeric),
            ("1e", Suffix),
            ("9E9E", Format),
        ] {
            assert_eq!(Quantity::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn amounts_are_rounded_up_where_they_are_counted() {
        for (text, milli) in [
            ("0", 0),
            ("1", 1000),
            ("100m", 100),
            ("0.1", 100),
            ("0.5", 500),
            ("1.5k", 1_500_000),
            ("1Ki", 1_024_000),
            ("0.5Mi", 524_288_000),
            ("2e3", 2_000_000),
            ("2E-1", 200),
            ("1u", 1),
            ("1n", 1),
            ("-1", -1000),
            ("-1500u", -1),
        ] {
            assert_eq!(quantity(text).milli(), milli, "{text}");
        }
        assert_eq!(quantity("1500m").units(), 2);
        assert_eq!(quantity("1e900").units(), i128::MAX);
        assert_eq!(quantity("1e-900").milli(), 1);
        assert!(quantity("1500m").is_whole_milli() && !quantity("1500m").is_whole());
        assert!(!quantity("1u").is_whole_milli());
    }

    #[test]
    fn quantities_compare_and_add_by_amount() {
        assert_eq!(quantity("1000m"), quantity("1"));
        assert!(quantity("1Gi") > quantity("1G"));
        assert!(quantity("1e900") > quantity("1E"));
        assert!(quantity("-1e900") < quantity("1n"));
        assert_eq!(quantity("50k").plus(quantity("20k")).to_string(), "70k");
        assert_eq!(quantity("1Gi").minus(quantity("512Mi")).to_string(), "512Mi");
        assert_eq!(Quantity::ZERO.plus(quantity("1Gi")).to_string(), "1Gi");
        assert_eq!(quantity("1").minus(quantity("1")).to_string(), "0");
    }

    #[test]
    fn what_counts_as_nothing_is_counted_as_nothing() {
        for (text, milli, units) in [
            ("1500m", 1500, 2),
            ("0.1", 100, 1),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("900000E", i64::MAX, i64::MAX),
            ("x", 0, 0),
            ("", 0, 0),
            ("-5", 0, 0),
        ] {
            assert_eq!(
                (Quantity::milli_in(text), Quantity::units_in(text)),
                (milli, units),
                "{text}"
            );
        }
    }

    #[test]
    fn only_what_is_written_whole_is_an_integer() {
        for (text, integer) in [
            ("50k", Some(50_000)),
            ("1Gi", Some(1 << 30)),
            ("0", Some(0)),
            ("1000m", None),
            ("1.5Gi", None),
            ("9999999999999999999", None),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("10E", None),
        ] {
            assert_eq!(quantity(text).as_i64(), integer, "{text}");
        }
        assert!(quantity("9999999999999999999999999G").as_f64() > 1e30);
    }
}
