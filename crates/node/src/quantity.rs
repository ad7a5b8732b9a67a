//! Resource quantities as the API's types hold them: `500m`, `128Mi`, `1e3`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_apimachinery::Quantity as Amount;

/// The quantity in thousandths, rounded up. Negative and unreadable ones count as nothing.
pub(crate) fn milli_value(quantity: &Quantity) -> u64 {
    Amount::milli_in(&quantity.0).unsigned_abs()
}

/// The quantity in units (bytes, cores), rounded up.
pub(crate) fn value(quantity: &Quantity) -> u64 {
    Amount::units_in(&quantity.0).unsigned_abs()
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
