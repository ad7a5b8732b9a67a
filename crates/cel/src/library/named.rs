//! Formats by name: rules for text that answer with what is wrong.
//! <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-format-library>

use base64::Engine;
use knarr_apimachinery::validation;

use super::opaque::Opaque;
use super::time::Timestamp;
use super::url::Url;
use super::{Run, unfit};
use crate::value::Val;

/// A rule for text.
#[derive(Debug)]
pub struct NamedFormat {
    pub(crate) name: &'static str,
    problems: fn(&str) -> Vec<String>,
    /// The length of the pattern that the check is charged for.
    pub(crate) pattern_size: u64,
}

static FORMATS: [NamedFormat; 13] = [
    NamedFormat {
        name: "dns1123Label",
        problems: validation::label,
        pattern_size: 30,
    },
    NamedFormat {
        name: "dns1123Subdomain",
        problems: validation::subdomain,
        pattern_size: 60,
    },
    NamedFormat {
        name: "dns1035Label",
        problems: validation::label_1035,
        pattern_size: 30,
    },
    NamedFormat {
        name: "qualifiedName",
        problems: validation::qualified_name,
        pattern_size: 60,
    },
    NamedFormat {
        name: "dns1123LabelPrefix",
        problems: |text| validation::label(&masked(text)),
        pattern_size: 30,
    },
    NamedFormat {
        name: "dns1123SubdomainPrefix",
        problems: |text| validation::subdomain(&masked(text)),
        pattern_size: 60,
    },
    NamedFormat {
        name: "dns1035LabelPrefix",
        problems: |text| validation::label_1035(&masked(text)),
        pattern_size: 30,
    },
    NamedFormat {
        name: "labelValue",
        problems: validation::label_value,
        pattern_size: 40,
    },
    NamedFormat {
        name: "uri",
        problems: |text| Url::parse_request(text).err().into_iter().collect(),
        pattern_size: 1103,
    },
    NamedFormat {
        name: "uuid",
        problems: |text| unless(is_uuid(text), "does not match the UUID format"),
        pattern_size: 70,
    },
    NamedFormat {
        name: "byte",
        problems: |text| unless(is_base64(text), "invalid base64"),
        pattern_size: 84,
    },
    NamedFormat {
        name: "date",
        problems: |text| unless(Timestamp::parse_date(text).is_some(), "invalid date"),
        pattern_size: 71,
    },
    NamedFormat {
        name: "datetime",
        problems: |text| unless(is_date_time(text), "invalid datetime"),
        pattern_size: 71,
    },
];

fn masked(prefix: &str) -> String {
    validation::masked_prefix(prefix)
}

fn unless(good: bool, problem: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![problem.to_owned()] }
}

/// With or without dashes.
fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (number, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if number > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((part, after)) = rest.split_at_checked(length) else {
            return false;
        };
        if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

fn is_base64(text: &str) -> bool {
    !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn is_date_time(text: &str) -> bool {
    Timestamp::parse(&text.to_ascii_uppercase()).is_some()
}

fn named(name: &str) -> Option<&'static NamedFormat> {
    FORMATS.iter().find(|format| format.name == name)
}

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "format.named" => |_, args, _| match args {
            [Val::String(name)] => Ok(match named(name) {
                Some(format) => Val::some(Val::Opaque(Opaque::Format(format))),
                None => Val::Optional(None),
            }),
            _ => unfit(),
        },
        "validate" => |_, args, _| match args {
            [Val::Opaque(Opaque::Format(format)), Val::String(text)] => {
                let problems = (format.problems)(text);
                if problems.is_empty() {
                    return Ok(Val::Optional(None));
                }
                Ok(Val::some(Val::list(problems.into_iter().map(Val::string).collect())))
            }
            _ => unfit(),
        },
        "format.dns1123Label" => |_, _, _| constant(0),
        "format.dns1123Subdomain" => |_, _, _| constant(1),
        "format.dns1035Label" => |_, _, _| constant(2),
        "format.qualifiedName" => |_, _, _| constant(3),
        "format.dns1123LabelPrefix" => |_, _, _| constant(4),
        "format.dns1123SubdomainPrefix" => |_, _, _| constant(5),
        "format.dns1035LabelPrefix" => |_, _, _| constant(6),
        "format.labelValue" => |_, _, _| constant(7),
        "format.uri" => |_, _, _| constant(8),
        "format.uuid" => |_, _, _| constant(9),
        "format.byte" => |_, _, _| constant(10),
        "format.date" => |_, _, _| constant(11),
        "format.datetime" => |_, _, _| constant(12),
        _ => return None,
    })
}

fn constant<'a>(at: usize) -> crate::eval::Outcome<Val<'a>> {
    Ok(Val::Opaque(Opaque::Format(&FORMATS[at])))
}
