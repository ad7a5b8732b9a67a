//! Events, under both of their names.
//!
//! Events are stored in the form of the core group. The newer group shows the same objects with other field names.

use super::Kind;
use crate::field::{Errors, Path};
use crate::json::{absent, blank, default_to, set, text};
use crate::printer::{Column, Columns, Row, age, name_of};
use crate::resource::Fields;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// `v1` Event.
pub(crate) struct CoreEvent;

/// `events.k8s.io/v1` Event.
pub(crate) struct NewEvent;

/// Core name, newer name.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(event: &mut Value, new_name: impl Fn(&str) -> Option<&'static str>) {
    if let Value::Object(map) = event {
        let renamed: Map<String, Value> = std::mem::take(map)
            .into_iter()
            .map(|(key, value)| (new_name(&key).map_or(key, str::to_owned), value))
            .collect();
        *map = renamed;
    }
}

impl Kind for CoreEvent {
    /// Fields that are always shown, even when nobody set them.
    fn default(&self, event: &mut Value) {
        if absent(event, "source") {
            set(event, "source", json!({}));
        }
        if absent(event, "involvedObject") {
            set(event, "involvedObject", json!({}));
        }
        for key in ["firstTimestamp", "lastTimestamp", "eventTime"] {
            if absent(event, key) {
                set(event, key, Value::Null);
            }
        }
        for key in ["reportingComponent", "reportingInstance"] {
            default_to(event, key, "");
        }
    }

    fn validate(&self, event: &Value, errors: &mut Errors) {
        let object = text(&event["involvedObject"], "namespace");
        let namespace = text(&event["metadata"], "namespace");
        // Cluster-scoped objects have their events in the default namespace.
        let agrees = object == namespace || (object.is_empty() && namespace == "default");
        if !agrees {
            let path = Path::new("involvedObject").child("namespace");
            errors.invalid(&path, object, "does not match event.namespace");
        }
        if absent(event, "eventTime") {
            return;
        }
        // An event with a time of its own follows the newer rules.
        for key in ["reportingComponent", "reportingInstance", "action", "reason"] {
            if blank(event, key) {
                let shown = if key == "reportingComponent" {
                    "reportingController"
                } else {
                    key
                };
                errors.required(&Path::new(shown), "");
            }
        }
        let kind = text(event, "type");
        if !matches!(kind, "Normal" | "Warning") {
            errors.invalid(&Path::new("type"), kind, "must be one of: Normal, Warning");
        }
    }

    /// An event tells of the past; all that can change is how often it happened.
    fn validate_update(&self, new: &Value, _old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        self.validate(new, errors);
    }

    fn fields(&self, event: &Value, fields: &mut Fields) {
        for (label, key) in [
            ("involvedObject.kind", "kind"),
            ("involvedObject.namespace", "namespace"),
            ("involvedObject.name", "name"),
            ("involvedObject.uid", "uid"),
            ("involvedObject.apiVersion", "apiVersion"),
            ("involvedObject.resourceVersion", "resourceVersion"),
            ("involvedObject.fieldPath", "fieldPath"),
        ] {
            fields.add(label, text(&event["involvedObject"], key));
        }
        shared_fields(event, fields);
        fields.add("reportingComponent", text(event, "reportingComponent"));
        let source = match text(&event["source"], "component") {
            "" => text(event, "reportingComponent"),
            component => component,
        };
        fields.add("source", source);
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::text("Last Seen", "Time since it last happened."),
            Column::text("Type", "Whether something went wrong."),
            Column::text("Reason", "What happened, in a word."),
            Column::text("Object", "What it happened to."),
            Column::text("Subobject", "Which part it happened to.").wide(),
            Column::text("Source", "Who tells.").wide(),
            Column::text("Message", "What happened, in a sentence."),
            Column::text("First Seen", "Time since it first happened.").wide(),
            Column::text("Count", "How often it happened.").wide(),
            Column {
                priority: 1,
                ..Column::NAME
            },
        ];
        COLUMNS.into()
    }

    fn row(&self, event: &Value, now: Timestamp) -> Row {
        let mut first = age(&event["firstTimestamp"], now);
        if absent(event, "firstTimestamp") {
            first = age(&event["eventTime"], now);
        }
        let mut last = age(&event["lastTimestamp"], now);
        if absent(event, "lastTimestamp") {
            last.clone_from(&first);
        }
        let mut count = event["count"].as_i64().unwrap_or(0).max(1);
        if event["series"].is_object() {
            last = age(&event["series"]["lastObservedTime"], now);
            count = event["series"]["count"].as_i64().unwrap_or(0);
        }
        let object = &event["involvedObject"];
        let kind = text(object, "kind").to_lowercase();
        let target = match text(object, "name") {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        Row::new(vec![
            json!(last),
            json!(text(event, "type")),
            json!(text(event, "reason")),
            json!(target),
            json!(text(object, "fieldPath")),
            json!(source(event)),
            json!(text(event, "message").trim()),
            json!(first),
            json!(count),
            json!(name_of(event)),
        ])
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

impl Kind for NewEvent {
    fn store(&self, event: &mut Value) {
        rename(event, |key| {
            NAMES.iter().find(|(_, new)| *new == key).map(|(core, _)| *core)
        });
        if event.is_object() {
            set(event, "apiVersion", "v1");
        }
    }

    fn show(&self, event: &mut Value) {
        rename(event, |key| {
            NAMES.iter().find(|(core, _)| *core == key).map(|(_, new)| *new)
        });
        if event.is_object() {
            set(event, "apiVersion", "events.k8s.io/v1");
        }
    }

    fn default(&self, event: &mut Value) {
        CoreEvent.default(event);
    }

    fn validate(&self, event: &Value, errors: &mut Errors) {
        if absent(event, "eventTime") {
            errors.required(&Path::new("eventTime"), "");
        }
        CoreEvent.validate(event, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        CoreEvent.validate_update(new, old, subresource, errors);
    }

    fn fields(&self, event: &Value, fields: &mut Fields) {
        for (label, key) in [
            ("regarding.kind", "kind"),
            ("regarding.namespace", "namespace"),
            ("regarding.name", "name"),
            ("regarding.uid", "uid"),
            ("regarding.apiVersion", "apiVersion"),
            ("regarding.resourceVersion", "resourceVersion"),
            ("regarding.fieldPath", "fieldPath"),
        ] {
            fields.add(label, text(&event["regarding"], key));
        }
        shared_fields(event, fields);
        fields.add("reportingController", text(event, "reportingController"));
    }

    fn columns(&self) -> Columns<'_> {
        CoreEvent.columns()
    }

    fn row(&self, event: &Value, now: Timestamp) -> Row {
        let mut stored = event.clone();
        self.store(&mut stored);
        CoreEvent.row(&stored, now)
    }

    fn creates_on_update(&self) -> bool {
        true
    }
}

fn shared_fields(event: &Value, fields: &mut Fields) {
    fields.add("reason", text(event, "reason"));
    fields.add("type", text(event, "type"));
}

fn source(event: &Value) -> String {
    let either = |old: &str, new: &str| match text(&event["source"], old) {
        "" => text(event, new).to_owned(),
        value => value.to_owned(),
    };
    let parts = [
        either("component", "reportingComponent"),
        either("host", "reportingInstance"),
    ];
    let known: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    known.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn event() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "e", "namespace": "n"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n", "fieldPath": "spec.containers{c}"},
            "reason": "Started", "message": "Started container c ", "type": "Normal", "count": 3,
            "source": {"component": "kubelet", "host": "node"},
            "firstTimestamp": "2024-01-01T00:00:00Z", "lastTimestamp": "2024-01-01T00:01:00Z",
        })
    }

    #[test]
    fn both_groups_show_the_same_event() {
        let resource = find("events.k8s.io", "v1", "events").expect("served");
        let mut shown = event();
        resource.from_storage(&mut shown);
        assert_eq!(shown["apiVersion"], "events.k8s.io/v1");
        assert_eq!(shown["regarding"]["name"], "p");
        assert_eq!(shown["note"], "Started container c ");
        assert_eq!(shown.get("message"), None);
        assert_eq!(resource.fields(&shown).get("regarding.name"), Some("p"));
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(resource.table(&[&shown], now).rows, [CoreEvent.row(&event(), now)]);
        resource.to_storage(&mut shown);
        assert_eq!(shown, event());
    }

    #[test]
    fn a_row_tells_when_and_how_often() {
        let now = "2024-01-01T00:01:30Z".parse().expect("a time");
        assert_eq!(
            CoreEvent.row(&event(), now).cells,
            [
                json!("30s"),
                json!("Normal"),
                json!("Started"),
                json!("pod/p"),
                json!("spec.containers{c}"),
                json!("kubelet, node"),
                json!("Started container c"),
                json!("90s"),
                json!(3),
                json!("e"),
            ]
        );
        let series = json!({"eventTime": "2024-01-01T00:00:00.5Z", "series": {"count": 7, "lastObservedTime": "2024-01-01T00:01:20Z"}});
        let row = CoreEvent.row(&series, now);
        assert_eq!(
            (&row.cells[0], &row.cells[7], &row.cells[8]),
            (&json!("10s"), &json!("89s"), &json!(7))
        );
    }

    #[test]
    fn an_event_lives_with_its_object() {
        let resource = find("", "v1", "events").expect("served");
        let mut stray = event();
        resource.default(&mut stray);
        assert_eq!(resource.validate_create(&stray), Vec::new());
        stray["metadata"]["namespace"] = json!("other");
        assert_eq!(
            resource.validate_create(&stray)[0].to_string(),
            "involvedObject.namespace: Invalid value: \"n\": does not match event.namespace"
        );
    }

    #[test]
    fn fields_name_the_object() {
        let resource = find("", "v1", "events").expect("served");
        let fields = resource.fields(&event());
        for (label, value) in [
            ("involvedObject.name", "p"),
            ("involvedObject.kind", "Pod"),
            ("source", "kubelet"),
            ("reason", "Started"),
            ("reportingComponent", ""),
        ] {
            assert_eq!(fields.get(label), Some(value), "{label}");
        }
    }
}
