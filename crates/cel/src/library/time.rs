//! Points in time and lengths of time.

use std::fmt;

use super::{Run, error, unfit};
use crate::eval::{Outcome, fail};
use crate::value::Val;

const NANOS: i128 = 1_000_000_000;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

/// A point in time of the years 1 to 9999, to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// Seconds and nanoseconds since 1970 in UTC, if the year is one to 9999.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        (FIRST..=LAST).contains(&seconds).then_some(Self { seconds, nanos })
    }

    pub(crate) fn seconds(self) -> i64 {
        self.seconds
    }

    pub(crate) fn nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    pub(crate) fn plus(self, nanos: i128) -> Option<Self> {
        let sum = self.nanos() + nanos;
        Self::new(i64::try_from(sum.div_euclid(NANOS)).ok()?, sum.rem_euclid(NANOS) as u32)
    }

    /// RFC 3339: `2024-03-05T06:07:08.009Z`, `2024-03-05T06:07:08+02:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let day = day_of(date)?;
        let clock = rest.strip_prefix('T')?;
        let (time, mut rest) = clock.split_at_checked(8)?;
        let (hour, minute, second) = (number(&time[..2])?, number(time.get(3..5)?)?, number(time.get(6..)?)?);
        let colons = time.as_bytes()[2] == b':' && time.as_bytes()[5] == b':';
        if !colons || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut nanos = 0;
        if let Some(fraction) = rest.strip_prefix(['.', ',']) {
            let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
            if end == 0 {
                return None;
            }
            let digits = &fraction[..end.min(9)];
            nanos = digits.parse::<u32>().ok()? * 10_u32.pow(9 - digits.len() as u32);
            rest = &fraction[end..];
        }
        let offset = match rest.as_bytes() {
            [b'Z'] => 0,
            [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
                let (hours, minutes) = (number(&rest[1..3])?, number(&rest[4..6])?);
                if hours > 24 || minutes > 60 {
                    return None;
                }
                let seconds = hours * 3600 + minutes * 60;
                if *sign == b'-' { -seconds } else { seconds }
            }
            _ => return None,
        };
        Self::new(day * 86_400 + hour * 3600 + minute * 60 + second - offset, nanos)
    }

    /// A date alone: its midnight in UTC.
    pub(crate) fn parse_date(text: &str) -> Option<Self> {
        Self::new(day_of(text)? * 86_400, 0)
    }

    fn civil(self) -> Civil {
        let day = self.seconds.div_euclid(86_400);
        let clock = self.seconds.rem_euclid(86_400);
        // Days are counted in eras of 400 years that begin in March, so that leap days come last.
        let shifted = day + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Civil {
            year,
            month,
            day: day_of_month,
            clock,
            day_number: day,
        }
    }
}

struct Civil {
    year: i64,
    month: i64,
    day: i64,
    /// Seconds since midnight.
    clock: i64,
    /// Days since 1970.
    day_number: i64,
}

fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn number(text: &str) -> Option<i64> {
    text.bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Days since 1970 of `2024-03-05`.
fn day_of(date: &str) -> Option<i64> {
    let bytes = date.as_bytes();
    if bytes.len() != 10 || !date.is_ascii() || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (number(&date[..4])?, number(&date[5..7])?, number(&date[8..])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    (1..=last).contains(&day).then(|| days_before(year, month, day))
}

/// RFC 3339 in UTC, with as many decimals as there are.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil {
            year,
            month,
            day,
            clock,
            ..
        } = self.civil();
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos > 0 {
            write!(f, ".{}", format!("{:09}", self.nanos).trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// `90m`, `1.5s`, `-1h30m`, in nanoseconds; as Go's `time.ParseDuration`.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1000,
            "ms" => 1_000_000,
            "s" => NANOS,
            "m" => 60 * NANOS,
            "h" => 3600 * NANOS,
            _ => return None,
        };
        total = total.checked_add(amount_of(amount, unit)?)?;
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn amount_of(amount: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(18)];
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse::<i128>().ok()?
    };
    let part = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<i128>().ok()?
    };
    Some(whole * unit + part * unit / 10_i128.pow(fraction.len() as u32))
}

/// The `duration` of OpenAPI: like the above, or with words and longer units (`2 days`, `1w`).
pub(crate) fn parse_long_duration(text: &str) -> Option<i64> {
    if let Some(nanos) = parse_duration(text) {
        return Some(nanos);
    }
    let (mut rest, mut total) = (text.trim(), 0_i128);
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|end| *end > 0)?;
        let (amount, after) = rest.split_at(end);
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit: i128 = match unit {
            "ns" | "nano" | "nanos" | "nanosec" | "nanosecs" | "nanosecond" | "nanoseconds" => 1,
            "us" | "µs" | "micro" | "micros" | "microsec" | "microsecs" | "microsecond" | "microseconds" => 1000,
            "ms" | "milli" | "millis" | "millisec" | "millisecs" | "millisecond" | "milliseconds" => 1_000_000,
            "s" | "sec" | "secs" | "second" | "seconds" => NANOS,
            "m" | "min" | "mins" | "minute" | "minutes" => 60 * NANOS,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600 * NANOS,
            "d" | "day" | "days" => 86_400 * NANOS,
            "w" | "wk" | "wks" | "week" | "weeks" => 7 * 86_400 * NANOS,
            _ => return None,
        };
        total = total.checked_add(amount_of(amount, unit)?)?;
        rest = next.trim_start();
    }
    i64::try_from(total).ok()
}

/// As CEL writes it: in seconds.
pub(crate) fn duration_text(nanos: i64) -> String {
    let seconds = (nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9;
    format!("{seconds}s")
}

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "timestamp" => |_, args, _| match args {
            [Val::Timestamp(at)] => Ok(Val::Timestamp(*at)),
            [Val::Int(seconds)] => Timestamp::new(*seconds, 0)
                .map(Val::Timestamp)
                .ok_or_else(|| error("timestamp overflow")),
            [Val::String(text)] => match Timestamp::parse(text) {
                Some(at) => Ok(Val::Timestamp(at)),
                None => fail("type conversion error from 'string' to 'google.protobuf.Timestamp'"),
            },
            _ => unfit(),
        },
        "duration" => |_, args, _| match args {
            [Val::Duration(nanos)] | [Val::Int(nanos)] => Ok(Val::Duration(*nanos)),
            [Val::String(text)] => match parse_duration(text) {
                Some(nanos) => Ok(Val::Duration(nanos)),
                None => fail("type conversion error from 'string' to 'google.protobuf.Duration'"),
            },
            _ => unfit(),
        },
        "getFullYear" => |_, args, _| field(args, |at| at.civil().year, None),
        "getMonth" => |_, args, _| field(args, |at| at.civil().month - 1, None),
        "getDate" => |_, args, _| field(args, |at| at.civil().day, None),
        "getDayOfMonth" => |_, args, _| field(args, |at| at.civil().day - 1, None),
        "getDayOfWeek" => |_, args, _| field(args, |at| (at.civil().day_number + 4).rem_euclid(7), None),
        "getDayOfYear" => |_, args, _| {
            let of_year = |at: Timestamp| {
                let civil = at.civil();
                civil.day_number - days_before(civil.year, 1, 1)
            };
            field(args, of_year, None)
        },
        "getHours" => |_, args, _| field(args, |at| at.civil().clock / 3600, Some(3600 * NANOS as i64)),
        "getMinutes" => |_, args, _| field(args, |at| at.civil().clock / 60 % 60, Some(60 * NANOS as i64)),
        "getSeconds" => |_, args, _| field(args, |at| at.civil().clock % 60, Some(NANOS as i64)),
        "getMilliseconds" => |_, args, _| field(args, |at| i64::from(at.nanos / 1_000_000), Some(1_000_000)),
        _ => return None,
    })
}

/// Part of a point in time, in UTC or the zone given; or a duration in whole units.
fn field<'a>(args: &[Val<'a>], of: fn(Timestamp) -> i64, unit: Option<i64>) -> Outcome<Val<'a>> {
    match (args, unit) {
        ([Val::Timestamp(at)], _) => Ok(Val::Int(of(*at))),
        ([Val::Timestamp(at), Val::String(zone)], _) => Ok(Val::Int(of(in_zone(*at, zone)?))),
        ([Val::Duration(nanos)], Some(unit)) => Ok(Val::Int(nanos / unit)),
        _ => unfit(),
    }
}

/// The point in time at which UTC's clocks show what the zone's do now.
fn in_zone(at: Timestamp, zone: &str) -> Outcome<Timestamp> {
    let offset = if let Some((hours, minutes)) = zone.split_once(':') {
        let sign = if hours.starts_with('-') { -1 } else { 1 };
        let hours: i64 = hours.parse().map_err(|_| error(format!("unknown time zone {zone}")))?;
        let minutes: i64 = minutes
            .parse()
            .map_err(|_| error(format!("unknown time zone {zone}")))?;
        if !(0..60).contains(&minutes) || hours.abs() > 24 {
            return fail(format!("unknown time zone {zone}"));
        }
        hours * 3600 + sign * minutes * 60
    } else if matches!(zone, "" | "UTC") {
        0
    } else {
        let known = jiff::tz::TimeZone::get(zone).map_err(|_| error(format!("unknown time zone {zone}")))?;
        let instant = jiff::Timestamp::new(at.seconds, 0).map_err(|_| error("timestamp overflow"))?;
        i64::from(known.to_offset(instant).seconds())
    };
    // The clocks of a zone may be beyond the bounds of the year 9999.
    Ok(Timestamp {
        seconds: at.seconds + offset,
        nanos: at.nanos,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_read_as_they_are_written() {
        for text in [
            "2024-03-05T06:07:08.009Z",
            "1970-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "2000-02-29T12:00:00.5Z",
        ] {
            assert_eq!(Timestamp::parse(text).expect(text).to_string(), text);
        }
        let shifted = Timestamp::parse("2024-03-05T06:07:08+02:30").expect("valid");
        assert_eq!(shifted.to_string(), "2024-03-05T03:37:08Z");
        for wrong in [
            "2023-02-29T00:00:00Z",
            "2024-01-01",
            "2024-01-01 00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "é024-01-01T00:00:00Z",
            "",
        ] {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_in_every_notation() {
        let hour = 3_600_000_000_000;
        for (text, nanos) in [
            ("1h", hour),
            ("-1.5h", -hour * 3 / 2),
            ("1h30m", hour * 3 / 2),
            ("0", 0),
            (".5s", 500_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
        }
        for wrong in ["", "1", "1d", "h", "1h-", "300000h1000000h999999999h"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
        assert_eq!(parse_long_duration("2 days"), Some(48 * hour));
        assert_eq!(parse_long_duration("1w"), Some(168 * hour));
        assert_eq!(parse_long_duration("x"), None);
        assert_eq!(duration_text(1_500_000_000), "1.5s");
    }
}
