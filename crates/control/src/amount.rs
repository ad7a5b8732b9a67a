//! Numbers of pods that may be given as a share: `25%`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The number, or the share of `total`, rounded up.
pub(crate) fn rounded_up(value: &IntOrString, total: i32) -> i32 {
    scaled(value, total, 99)
}

/// The number, or the share of `total`, rounded down.
pub(crate) fn rounded_down(value: &IntOrString, total: i32) -> i32 {
    scaled(value, total, 0)
}

/// What is no number counts as none.
fn scaled(value: &IntOrString, total: i32, rounding: i64) -> i32 {
    match value {
        IntOrString::Int(count) => (*count).max(0),
        IntOrString::String(text) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|text| text.parse::<i64>().ok())
                .unwrap_or(0);
            let share = percent.max(0).saturating_mul(i64::from(total)).saturating_add(rounding) / 100;
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}
