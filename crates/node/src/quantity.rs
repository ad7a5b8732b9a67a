//! Resource quantities: `500m`, `128Mi`, `1e3`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value in thousandths; `None` when it is no quantity.
fn millis(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+' || c == '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "n" => 1e-6,
        "u" => 1e-3,
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "P" => 1e18,
        "E" => 1e21,
        "Ki" => 1e3 * 1024.0,
        "Mi" => 1e3 * 1024f64.powi(2),
        "Gi" => 1e3 * 1024f64.powi(3),
        "Ti" => 1e3 * 1024f64.powi(4),
        "Pi" => 1e3 * 1024f64.powi(5),
        "Ei" => 1e3 * 1024f64.powi(6),
        exponent => 1e3 * 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor)
}

/// The quantity in thousandths, rounded up. Negative and unreadable ones count as nothing.
pub(crate) fn milli_value(quantity: &Quantity) -> u64 {
    millis(&quantity.0).map_or(0, |value| value.ceil() as u64)
}

/// The quantity in units (bytes, cores), rounded up.
pub(crate) fn value(quantity: &Quantity) -> u64 {
    milli_value(quantity).div_ceil(1000)
}

/// How many `divisor`s make up `amount` (thousandths both), rounded up as the downward API does.
pub(crate) fn divide(amount: u64, divisor: &Quantity) -> u64 {
    match milli_value(divisor) {
        0 => amount.div_ceil(1000),
        divisor => amount.div_ceil(divisor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_every_notation() {
        for (text, expected) in [
            ("1", 1000),
            ("500m", 500),
            ("0.1", 100),
            ("1.5Gi", 1_610_612_736_000),
            ("128974848", 128_974_848_000),
            ("129e6", 129_000_000_000),
            ("129M", 129_000_000_000),
            ("1n", 1),
            ("x", 0),
            ("-5", 0),
        ] {
            assert_eq!(milli_value(&Quantity(text.into())), expected, "{text}");
        }
        assert_eq!(value(&Quantity("1500m".into())), 2);
        assert_eq!(divide(1500, &Quantity("1".into())), 2);
        assert_eq!(
            divide(128 << 20 << 10, &Quantity("1Mi".into())),
            132,
            "1024 thousandths to the unit"
        );
        assert_eq!(divide(250, &Quantity("1m".into())), 250);
        assert_eq!(divide(250, &Quantity("0".into())), 1);
    }
}
