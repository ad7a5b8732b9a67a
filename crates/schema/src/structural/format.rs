//! The formats of strings that are enforced; others are only noted.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine;
use regex::Regex;

/// Formats that Kubernetes knows, without dashes. Those of numbers are checked with the numbers.
const KNOWN: [&str; 29] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "double",
    "duration",
    "email",
    "float",
    "hexcolor",
    "hostname",
    "int32",
    "int64",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
];

fn plain(format: &str) -> String {
    format.replace('-', "")
}

/// Whether a format means anything here.
pub fn is_known(format: &str) -> bool {
    let plain = plain(format);
    plain == "uuid5" || KNOWN.contains(&plain.as_str())
}

macro_rules! patterns {
    ($($name:ident = $pattern:literal;)*) => {
        $(static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).expect("a pattern"));)*
    };
}

patterns! {
    BSON = "^(?i)[0-9a-f]{24}$";
    UUID = "^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID3 = "^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID4 = "^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    UUID5 = "^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    HOSTNAME = r"^([a-zA-Z0-9\p{L}]([-\p{L}a-zA-Z0-9_]{0,61}[a-zA-Z0-9\p{L}])?)(\.[a-zA-Z0-9\p{L}]([-\p{L}a-zA-Z0-9_]{0,61}[a-zA-Z0-9\p{L}])?)*\.?$";
    EMAIL = r"^[^@\s<>(),;:\x22\[\]]+@[^@\s<>(),;:\x22\[\]]+$";
    URI = r"^([a-zA-Z][a-zA-Z0-9+.-]*:\S*|/\S*)$";
    SSN = r"^\d{3}[- ]?\d{2}[- ]?\d{4}$";
    HEX_COLOR = "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB_COLOR = r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$";
    MAC = r"^(?i)([0-9a-f]{2}([:-][0-9a-f]{2}){5}|[0-9a-f]{2}([:-][0-9a-f]{2}){7}|[0-9a-f]{4}(\.[0-9a-f]{4}){2,3})$";
    DATE = r"^\d{4}-\d{2}-\d{2}$";
    DATE_TIME = r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$";
    DURATION = r"^[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*$";
    WORDY_DURATION = r"^((\d+)\s*([A-Za-zµ]+))$";
    SHORT_NAME = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
    LONG_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    DIGITS = r"^\d+$";
}

/// Units that go-openapi's durations have besides Go's own.
const UNITS: [&str; 31] = [
    "ns",
    "nano",
    "nanos",
    "nanosecond",
    "nanoseconds",
    "us",
    "µs",
    "micro",
    "micros",
    "microsecond",
    "microseconds",
    "ms",
    "milli",
    "millis",
    "millisecond",
    "milliseconds",
    "s",
    "sec",
    "secs",
    "second",
    "seconds",
    "m",
    "min",
    "mins",
    "minute",
    "minutes",
    "h",
    "hr",
    "hour",
    "hours",
    "d",
];

/// Whether a string has a format; formats that nobody knows fit everything.
pub(super) fn matches(format: &str, text: &str) -> bool {
    match plain(format).as_str() {
        "bsonobjectid" => BSON.is_match(text),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID3.is_match(text),
        "uuid4" => UUID4.is_match(text),
        "uuid5" => UUID5.is_match(text),
        "hostname" => text.len() <= 253 && HOSTNAME.is_match(text),
        "email" => EMAIL.is_match(text),
        "uri" => URI.is_match(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "mac" => MAC.is_match(text),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => luhn(text),
        "ssn" => SSN.is_match(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "rgbcolor" => RGB_COLOR.is_match(text),
        "byte" => base64::engine::general_purpose::STANDARD
            .decode(text.replace(['\r', '\n'], ""))
            .is_ok(),
        "date" => DATE.is_match(text) && text.parse::<jiff::civil::Date>().is_ok(),
        "datetime" => DATE_TIME.is_match(text) && text.to_ascii_uppercase().parse::<jiff::Timestamp>().is_ok(),
        "duration" => duration(text),
        "k8sshortname" => SHORT_NAME.is_match(text),
        "k8slongname" => text.len() <= 253 && LONG_NAME.is_match(text),
        _ => true,
    }
}

fn cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else {
        return false;
    };
    let bits = match (address.parse::<Ipv4Addr>(), address.parse::<Ipv6Addr>()) {
        (Ok(_), _) => 32,
        (_, Ok(_)) => 128,
        _ => return false,
    };
    DIGITS.is_match(prefix) && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits)
}

fn duration(text: &str) -> bool {
    text == "0"
        || DURATION.is_match(text)
        || WORDY_DURATION.captures(text).is_some_and(|found| {
            let unit = found[3].to_lowercase();
            let unit = unit.trim_end_matches('s');
            UNITS.iter().any(|known| known.trim_end_matches('s') == unit) || matches!(unit, "day" | "w" | "wk" | "week")
        })
}

fn digits(text: &str) -> Option<Vec<u32>> {
    text.chars()
        .filter(|c| !matches!(c, '-' | ' '))
        .map(|c| c.to_digit(10))
        .collect()
}

fn isbn10(text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    let values = plain.iter().enumerate().map(|(at, c)| match (at, c) {
        (9, 'X') => Some(10),
        (_, c) => c.to_digit(10),
    });
    let values: Option<Vec<u32>> = values.collect();
    values.is_some_and(|values| {
        values.len() == 10 && (1..).zip(&values).map(|(at, value)| at * value).sum::<u32>() % 11 == 0
    })
}

fn isbn13(text: &str) -> bool {
    digits(text).is_some_and(|values| {
        let sum: u32 = values
            .iter()
            .zip([1, 3].iter().cycle())
            .map(|(value, weight)| value * weight)
            .sum();
        values.len() == 13 && sum.is_multiple_of(10)
    })
}

fn luhn(text: &str) -> bool {
    digits(text).is_some_and(|values| {
        let doubled = values.iter().rev().enumerate().map(|(at, value)| match at % 2 {
            0 => *value,
            _ if *value > 4 => value * 2 - 9,
            _ => value * 2,
        });
        (13..=19).contains(&values.len()) && doubled.sum::<u32>() % 10 == 0
    })
}
