//! The query parameters of writes: `CreateOptions`, `UpdateOptions` and `PatchOptions`, with the rules of
//! `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.

use knarr_resource::{Cause, Errors, Path, Status};
use serde_json::{Value, json};

use super::body::essence;
use super::request_info::RequestInfo;
use crate::registry::ListOptions;

/// The longest `fieldManager`, in bytes.
const MANAGER: usize = 128;

/// Refuses options that the verb does not know.
pub(crate) fn check(call: &RequestInfo) -> Result<(), Status> {
    let kind = match call.verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        _ => return Ok(()),
    };
    let mut errors = Errors::new();
    if kind == "PatchOptions" {
        if essence(call.header("content-type")) == "application/apply-patch+yaml" {
            if call.query.get("fieldManager").is_none() {
                errors.push(
                    &Path::new("fieldManager"),
                    Cause::Required,
                    Value::Null,
                    "is required for apply patch",
                );
            }
        } else if call.query.all("force").next().is_some() {
            errors.push(
                &Path::new("force"),
                Cause::Forbidden,
                Value::Null,
                "may not be specified for non-apply patch",
            );
        }
    }
    manager(call.query.get("fieldManager").unwrap_or_default(), &mut errors);
    let dry_run: Vec<&str> = call.query.all("dryRun").collect();
    self::dry_run(&dry_run, &mut errors);
    match call.query.get("fieldValidation") {
        None | Some("Ignore" | "Strict" | "Warn") => {}
        Some(other) => errors.push(
            &Path::new("fieldValidation"),
            Cause::NotSupported,
            other,
            r#"supported values: "", "Ignore", "Strict", "Warn""#,
        ),
    }
    refuse(kind, errors)
}

/// The options of a write as an object, for admission.
pub(crate) fn of(call: &RequestInfo) -> Value {
    let kind = match call.verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        _ => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    for key in ["fieldManager", "fieldValidation"] {
        if let Some(value) = call.query.get(key) {
            options[key] = json!(value);
        }
    }
    if call.query.dry_run() {
        options["dryRun"] = json!(["All"]);
    }
    if kind == "PatchOptions" && call.query.flag("force") {
        options["force"] = json!(true);
    }
    options
}

/// The options of a list or a watch.
pub(crate) fn list(call: &RequestInfo) -> Result<ListOptions, Status> {
    let query = &call.query;
    let text = |name: &str| query.get(name).map(str::to_owned);
    Ok(ListOptions {
        label_selector: text("labelSelector").unwrap_or_default(),
        field_selector: text("fieldSelector").unwrap_or_default(),
        limit: query.number("limit")?,
        next: text("continue"),
        resource_version: query.number("resourceVersion")?,
        resource_version_match: text("resourceVersionMatch"),
        send_initial_events: query
            .all("sendInitialEvents")
            .next()
            .map(|_| query.flag("sendInitialEvents")),
        allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
        timeout_seconds: query.number("timeoutSeconds")?,
    })
}

/// 422 if there is something wrong with the options of this kind.
pub(crate) fn refuse(kind: &str, errors: Errors) -> Result<(), Status> {
    match errors.into_vec() {
        errors if errors.is_empty() => Ok(()),
        errors => Err(Status::invalid("meta.k8s.io", kind, "", &errors)),
    }
}

/// What `dryRun` may say.
pub(crate) fn dry_run(values: &[&str], errors: &mut Errors) {
    if values.iter().any(|value| *value != "All") {
        let path = Path::new("dryRun");
        errors.push(&path, Cause::NotSupported, json!(values), r#"supported values: "All""#);
    }
}

fn manager(name: &str, errors: &mut Errors) {
    let path = Path::new("fieldManager");
    if name.len() > MANAGER {
        let detail = format!("may not be more than {MANAGER} bytes");
        errors.push(&path, Cause::TooLong, Value::Null, detail);
    }
    for (at, character) in name.char_indices().filter(|(_, c)| !printable(*c)) {
        let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(character));
        errors.push(&path, Cause::Invalid, name, detail);
    }
}

/// As `unicode.IsPrint` of Go.
fn printable(character: char) -> bool {
    match character {
        ' ' | '"' | '\'' | '\\' => true,
        other => !other.is_whitespace() && !other.is_control() && !other.escape_debug().to_string().starts_with("\\u"),
    }
}
