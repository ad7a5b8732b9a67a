//! From the bytes of lists and watches to objects, without ever building a tree of them.
//!
//! Two borrowed passes per object: one finds where the objects are, one reads the few fields that identify it and where
//! its `managedFields` are. The JSON itself is copied once, around them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::table::{self, Definition, RawRow};
use crate::cluster::{ClusterId, Resource};
use crate::store::pack::Packer;
use crate::store::{Column, Object, ObjectId};

/// One page of a list.
#[derive(Debug, Default)]
pub struct Page {
    /// Its objects.
    pub objects: Vec<Arc<Object>>,
    /// Where the next page begins; empty when this is the last.
    pub next: String,
    /// Version of the whole list, to watch from.
    pub resource_version: String,
}

/// One line of a watch.
#[derive(Debug)]
pub enum Event {
    /// The object is now like this.
    Set(Arc<Object>),
    /// The object is gone, since this version.
    Gone(ObjectId, String),
    /// Everything up to this version has been told.
    Bookmark {
        /// The version.
        version: String,
        /// The watch began with everything there was, and that is told as well.
        ends_list: bool,
    },
    /// The watch ends with this status: HTTP code and the JSON that explains it.
    Error(u16, String),
    /// A type that is not known.
    Other,
}

/// Decodes the objects of one resource.
#[derive(Debug)]
pub struct Decoder {
    /// Where they come from.
    cluster: ClusterId,
    /// What list items lack: `"apiVersion":"v1",`
    api_version: String,
    /// `"kind":"Pod",`
    kind: String,
    /// Thousands of objects share a few namespaces.
    namespaces: HashSet<Arc<str>>,
    packer: Packer,
    /// The columns of the server's table, as last said, and whether they have been passed on.
    definitions: Vec<Definition>,
    said: bool,
}

/// A list, or a table.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPage<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
    /// Said once for each watch.
    #[serde(default)]
    column_definitions: Option<Vec<Definition>>,
    #[serde(borrow, default)]
    rows: Option<Vec<RawRow<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ListMeta {
    #[serde(rename = "continue")]
    next: String,
    resource_version: String,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

/// What a bookmark has of an object.
#[derive(Deserialize)]
struct Bookmark<'a> {
    #[serde(borrow)]
    metadata: BookmarkMeta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta<'a> {
    resource_version: String,
    #[serde(borrow)]
    annotations: Option<HashMap<Cow<'a, str>, Cow<'a, str>>>,
}

/// The annotation of the bookmark that ends the list at the beginning of a watch.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    api_version: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Meta<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(borrow)]
    creation_timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    managed_fields: Option<&'a RawValue>,
}

impl Decoder {
    /// For the objects of `resource` in a cluster.
    pub fn new(cluster: ClusterId, resource: &Resource) -> Self {
        let field = |name: &str, value: &str| format!("\"{name}\":{},", serde_json::Value::from(value));
        Self {
            cluster,
            api_version: field("apiVersion", &resource.api_version()),
            kind: field("kind", &resource.kind),
            namespaces: HashSet::new(),
            packer: Packer::default(),
            definitions: Vec::new(),
            said: true,
        }
    }

    /// The columns of the server's table, when it has said others than before.
    pub(super) fn new_columns(&mut self) -> Option<Arc<[Column]>> {
        (!std::mem::replace(&mut self.said, true)).then(|| table::columns(&self.definitions))
    }

    /// Decodes a page of a list or a table, received at `now`. An item that is no object with metadata is left out: one broken item of
    /// an aggregated API must not hide the others.
    ///
    /// # Errors
    ///
    /// Fails when the body is neither.
    pub fn page(&mut self, body: &[u8], now: Timestamp) -> Result<Page, serde_json::Error> {
        let page: RawPage<'_> = serde_json::from_slice(body)?;
        self.define(page.column_definitions);
        let items = page.items.unwrap_or_default();
        let mut objects = Vec::with_capacity(items.len());
        objects.extend(items.into_iter().filter_map(|item| known(self.object(item))));
        let rows = page.rows.unwrap_or_default();
        objects.extend(rows.iter().filter_map(|row| known(self.row(row, now))));
        Ok(Page {
            objects,
            next: page.metadata.next,
            resource_version: page.metadata.resource_version,
        })
    }

    fn define(&mut self, definitions: Option<Vec<Definition>>) {
        if let Some(definitions) = definitions.filter(|new| !new.is_empty() && *new != self.definitions) {
            self.definitions = definitions;
            self.said = false;
        }
    }

    /// Decodes a line of a watch.
    ///
    /// # Errors
    ///
    /// Fails when the line is no watch event.
    pub fn event(&mut self, line: &[u8], now: Timestamp) -> Result<Event, serde_json::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Status {
            code: u16,
        }
        let event: RawEvent<'_> = serde_json::from_slice(line)?;
        let Some(json) = event.object else {
            return Ok(Event::Other);
        };
        Ok(match &*event.kind {
            // As in a list: an item that is no object must not hide the others, nor break the watch at the same place for ever.
            "ADDED" | "MODIFIED" => known(self.subject(json, now)).map_or(Event::Other, Event::Set),
            "DELETED" => known(self.subject(json, now)).map_or(Event::Other, |object| {
                Event::Gone(object.id.clone(), object.resource_version.to_string())
            }),
            "BOOKMARK" => match serde_json::from_str::<Bookmark<'_>>(json.get()) {
                Ok(Bookmark { metadata }) => Event::Bookmark {
                    version: metadata.resource_version,
                    ends_list: metadata
                        .annotations
                        .is_some_and(|all| all.contains_key(INITIAL_EVENTS_END)),
                },
                Err(_) => Event::Other,
            },
            "ERROR" => {
                let status: Status = serde_json::from_str(json.get()).unwrap_or_default();
                Event::Error(status.code, json.get().to_owned())
            }
            _ => Event::Other,
        })
    }

    /// What an event is about: an object, or a table with the row of one.
    fn subject(&mut self, json: &RawValue, now: Timestamp) -> Result<Arc<Object>, serde_json::Error> {
        // A watch goes on as the list began.
        if self.definitions.is_empty() {
            return self.object(json);
        }
        let table: RawPage<'_> = serde_json::from_str(json.get())?;
        self.define(table.column_definitions);
        match table.rows.unwrap_or_default().first() {
            Some(row) => self.row(row, now),
            None => Err(serde::de::Error::missing_field("rows")),
        }
    }

    fn row(&mut self, row: &RawRow<'_>, now: Timestamp) -> Result<Arc<Object>, serde_json::Error> {
        let json = row.object.ok_or_else(|| serde::de::Error::missing_field("object"))?;
        let (object, raw, created) = self.read(json)?;
        let cells = table::cells(&self.definitions, &row.cells, created, &raw, now);
        Ok(Arc::new(object.shown(Some(cells.into()))))
    }

    fn object(&mut self, json: &RawValue) -> Result<Arc<Object>, serde_json::Error> {
        self.read(json).map(|(object, ..)| Arc::new(object))
    }

    /// The object, its JSON as it is kept, and when it was created.
    fn read(&mut self, json: &RawValue) -> Result<(Object, String, Option<Timestamp>), serde_json::Error> {
        let text = json.get();
        let head: Head<'_> = serde_json::from_str(text)?;
        let Meta {
            name,
            namespace,
            uid,
            resource_version,
            creation_timestamp,
            managed_fields,
        } = &head.metadata;
        let created = creation_timestamp.and_then(|time| time.get().trim_matches('"').parse().ok());
        let uid: Arc<str> = match &**uid {
            // Computed objects (metrics, component statuses) have none; their name must do.
            "" => format!("{namespace}/{name}").into(),
            uid => uid.into(),
        };
        let cut = managed_fields.and_then(|value| managed(text, value)).unwrap_or(0..0);
        let mut raw = String::with_capacity(text.len() - cut.len() + self.api_version.len() + self.kind.len());
        raw.push('{');
        if head.api_version.is_none() {
            raw.push_str(&self.api_version);
        }
        if head.kind.is_none() {
            raw.push_str(&self.kind);
        }
        // Serde took it for a map, so it begins with the brace that is there already.
        raw.push_str(&text[1..cut.start.max(1)]);
        raw.push_str(&text[cut.end.max(1)..]);
        let id = ObjectId {
            cluster: self.cluster,
            namespace: self.namespace(namespace),
            name: (&**name).into(),
            uid,
        };
        let packed = self.packer.pack(&id.namespace, &id.name, &raw);
        Ok((Object::packed(id, resource_version, packed), raw, created))
    }

    fn namespace(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        self.namespaces.insert(new.clone());
        new
    }
}

/// An object, unless it could not be read: that is written to the log.
fn known(object: Result<Arc<Object>, serde_json::Error>) -> Option<Arc<Object>> {
    object
        .inspect_err(|error| tracing::warn!(%error, "left out something in a list or a watch that is no object"))
        .ok()
}

/// The bytes of `"managedFields": value` and one comma beside it.
fn managed(text: &str, value: &RawValue) -> Option<std::ops::Range<usize>> {
    let start = (value.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let end = start + value.get().len();
    let before = text
        .get(..start)?
        .trim_end()
        .strip_suffix(':')?
        .trim_end()
        .strip_suffix("\"managedFields\"")?
        .trim_end();
    match before.strip_suffix(',') {
        Some(before) => Some(before.len()..end),
        None => {
            let after = text.get(end..)?;
            let comma = after
                .trim_start()
                .strip_prefix(',')
                .map_or(0, |rest| after.len() - rest.len());
            Some(before.len()..end + comma)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Cell;

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn decoder() -> Decoder {
        Decoder::new(
            ClusterId(1),
            &Resource {
                version: "v1".into(),
                kind: "Pod".into(),
                plural: "pods".into(),
                ..Resource::default()
            },
        )
    }

    fn one(item: &str) -> Arc<Object> {
        let body = format!(r#"{{"kind":"PodList","items":[{item}],"metadata":{{"resourceVersion":"9"}}}}"#);
        let page = decoder().page(body.as_bytes(), now()).expect("a list");
        page.objects.first().cloned().expect("one object")
    }

    #[test]
    fn items_get_what_lists_leave_out_and_lose_their_managed_fields_wherever_they_stand() {
        let fields = r#""managedFields" : [{"manager":"a,}\"]","fieldsV1":{"f:x":{}}}]"#;
        for metadata in [
            format!(r#"{{ {fields} }}"#),
            format!(r#"{{ {fields} , "name":"a"}}"#),
            format!(r#"{{"name":"a",{fields}}}"#),
            format!(r#"{{"name":"a", {fields},"uid":"u"}}"#),
        ] {
            let object = one(&format!(r#"{{"metadata":{metadata},"spec":{{"x":[1,2]}}}}"#));
            let value = object.value();
            assert_eq!(value["apiVersion"], "v1", "{}", object.json());
            assert_eq!(value["kind"], "Pod");
            assert_eq!(value["spec"]["x"][1], 2);
            assert!(value["metadata"].get("managedFields").is_none(), "{}", object.json());
        }
    }

    #[test]
    fn what_an_item_says_of_itself_is_kept() {
        let object =
            one(r#"{"kind":"Special","metadata":{"name":"a\u0062","namespace":"n","uid":"u"},"apiVersion":"x/v2"}"#);
        assert_eq!(object.json().matches("apiVersion").count(), 1);
        assert_eq!(object.value()["kind"], "Special");
        assert_eq!(
            (&*object.id.name, &*object.id.namespace, &*object.id.uid),
            ("ab", "n", "u")
        );
        assert_eq!(&*one(r#"{"metadata":{"name":"a","namespace":"n"}}"#).id.uid, "n/a");
    }

    #[test]
    fn a_null_list_is_empty_and_a_broken_item_hides_no_other() {
        let page = decoder()
            .page(br#"{"items":null,"metadata":{"continue":"c"}}"#, now())
            .expect("a list");
        assert!(page.objects.is_empty());
        assert_eq!(page.next, "c");
        let page = decoder()
            .page(br#"{"items":[7,{"metadata":{"name":"a"}},{}]}"#, now())
            .expect("a list");
        assert_eq!(page.objects.len(), 1);
        assert!(decoder().page(b"<html>", now()).is_err());
    }

    #[test]
    fn the_type_may_follow_the_object() {
        let mut decoder = decoder();
        let line = br#"{"object":{"kind":"Pod","metadata":{"uid":"u","resourceVersion":"7"}},"type":"DELETED"}"#;
        assert!(
            matches!(decoder.event(line, now()), Ok(Event::Gone(id, version)) if &*id.uid == "u" && version == "7")
        );
        let line = br#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"12","creationTimestamp":null}}}"#;
        assert!(
            matches!(decoder.event(line, now()), Ok(Event::Bookmark { version, ends_list: false }) if version == "12")
        );
        let line = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
        assert!(matches!(decoder.event(line, now()), Ok(Event::Error(410, _))));
        assert!(decoder.event(b"{}", now()).is_err());
    }

    #[test]
    fn an_event_without_what_it_is_about_breaks_nothing() {
        for line in [
            r#"{"type":"ADDED"}"#,
            r#"{"type":"MODIFIED","object":null}"#,
            r#"{"type":"MODIFIED","object":{"kind":"Pod"}}"#,
            r#"{"type":"DELETED","object":{"metadata":"ok"}}"#,
            r#"{"type":"BOOKMARK","object":{"kind":"Pod"}}"#,
            r#"{"type":"BOOKMARK","object":{"metadata":{"annotations":7}}}"#,
            r#"{"type":"NEWS","object":{}}"#,
        ] {
            let event = decoder().event(line.as_bytes(), now());
            assert!(matches!(event, Ok(Event::Other)), "{line}: {event:?}");
        }
    }

    #[test]
    fn a_table_is_a_list_of_its_objects_with_cells_and_says_its_columns_when_they_are_new() {
        let mut decoder = decoder();
        let definitions = r#""columnDefinitions":[{"name":"Name","type":"string","format":"name","priority":0},{"name":"Replicas","type":"integer","priority":1}]"#;
        let row = |name: &str, count: u8| {
            format!(
                r#"{{"cells":["{name}",{count}],"object":{{"metadata":{{"name":"{name}","uid":"{name}","resourceVersion":"4"}}}}}}"#
            )
        };
        let body = format!(
            r#"{{"kind":"Table","metadata":{{"resourceVersion":"9"}},{definitions},"rows":[{},{{"cells":["no object"]}}]}}"#,
            row("a", 3)
        );
        let page = decoder.page(body.as_bytes(), now()).expect("a table");
        assert_eq!((page.objects.len(), &*page.resource_version), (1, "9"));
        assert_eq!(
            page.objects[0].cells.as_deref(),
            Some(&[Cell::text("a"), Cell::Int(3)][..])
        );
        assert_eq!(page.objects[0].value()["kind"], "Pod");
        let columns = decoder.new_columns().expect("columns");
        assert_eq!(
            (&*columns[1].title, columns[1].right, columns[1].wide),
            ("REPLICAS", true, true)
        );

        let event = |kind: &str, definitions: &str| {
            format!(
                r#"{{"type":"{kind}","object":{{"kind":"Table",{definitions}"rows":[{}]}}}}"#,
                row("a", 4)
            )
        };
        let set = decoder
            .event(event("MODIFIED", "").as_bytes(), now())
            .expect("an event");
        assert!(
            matches!(set, Event::Set(object) if object.cells.as_deref().is_some_and(|cells| cells[1] == Cell::Int(4)))
        );
        decoder
            .event(event("MODIFIED", &format!("{definitions},")).as_bytes(), now())
            .expect("an event");
        assert!(decoder.new_columns().is_none(), "they are the same");
        let gone = decoder.event(event("DELETED", "").as_bytes(), now()).expect("an event");
        assert!(matches!(gone, Event::Gone(id, version) if &*id.uid == "a" && version == "4"));
        let bookmark =
            br#"{"type":"BOOKMARK","object":{"kind":"Table","metadata":{"resourceVersion":"12"},"rows":[]}}"#;
        assert!(matches!(decoder.event(bookmark, now()), Ok(Event::Bookmark { version, .. }) if version == "12"));
    }
}
