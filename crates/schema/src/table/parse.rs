//! Reading `types.txt`.

use std::collections::HashMap;

use super::{Field, Handle, Key, Kind, ListType, Schema, Slot, Strategy, Table, Type, Wire};

/// Reads the file that was compiled in; a test reads it as well, so that a malformed one cannot be shipped.
pub(super) fn parse(text: &'static str) -> Table {
    const OBJECT: &str = ":type  \napiVersion 0 s\nkind 0 s\nmetadata 0 @apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let lines = || OBJECT.lines().chain(text.lines());
    let mut names = HashMap::new();
    for line in lines() {
        if let Some(rest) = line.strip_prefix(":type ") {
            let id = u16::try_from(names.len()).expect("a few hundred types");
            names.insert(rest.split(' ').next().unwrap_or_default(), Schema(Handle::Table(id)));
        }
    }
    let mut types: Vec<Type> = Vec::with_capacity(names.len());
    let mut kinds = HashMap::new();
    let mut tags: Vec<(&'static str, &'static str)> = Vec::new();
    for line in lines() {
        let mut words = line.split(' ');
        match (words.next(), types.last_mut()) {
            (Some(":type"), last) => {
                if let Some(last) = last {
                    finish(last, &mut tags);
                }
                types.push(Type {
                    name: words.next().unwrap_or_default().into(),
                    atomic: words.next() == Some("atomic"),
                    open: types.is_empty(),
                    custom: false,
                    status: false,
                    kind: None,
                    fields: Vec::new(),
                    wire: Wire::default(),
                });
            }
            (Some(":kind"), Some(last)) => {
                let mut word = || words.next().expect("three words after :kind");
                let kind = (word().trim_start_matches('-'), word(), word());
                kinds.insert(kind, names[&*last.name].clone());
                last.kind = Some(kind);
            }
            (Some(json), Some(last)) => {
                tags.push((json, words.next().expect("a protobuf number")));
                let kind = kind(words.next().expect("a kind"), &names);
                last.fields.push(field(json, kind, words));
            }
            _ => {}
        }
    }
    if let Some(last) = types.last_mut() {
        finish(last, &mut tags);
    }
    Table { types, names, kinds }
}

/// Sorts a type's fields and lays out its message.
fn finish(type_: &mut Type, tags: &mut Vec<(&'static str, &'static str)>) {
    type_.fields.sort_by(|a, b| a.json.cmp(&b.json));
    for (json, tag) in tags.drain(..) {
        if tag == "0" {
            continue;
        }
        let Ok(index) = type_.fields.binary_search_by(|field| (*field.json).cmp(json)) else {
            continue;
        };
        let mut wire = &mut type_.wire;
        let mut numbers = tag
            .split('.')
            .map(|number| number.parse().expect("a protobuf number"))
            .peekable();
        while let Some(number) = numbers.next() {
            if numbers.peek().is_none() {
                wire.0.insert(number, Slot::Field(index));
                break;
            }
            match wire.0.entry(number).or_insert_with(|| Slot::Embedded(Wire::default())) {
                Slot::Embedded(inner) => wire = inner,
                Slot::Field(_) => break,
            }
        }
    }
}

fn field(json: &'static str, kind: Kind, words: std::str::Split<'static, char>) -> Field {
    let mut field = Field::new(json.into(), kind);
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("!", _) => field.required = true,
            ("zero", _) => field.zero_omitted = true,
            ("ptr", _) => field.pointer = true,
            ("set", _) => field.list = ListType::Set,
            ("map", keys) => field.list = ListType::Map(keys.split(',').map(key).collect()),
            ("atomic", _) => field.atomic = true,
            ("merge", "") => field.patch = Strategy::MergeScalars,
            ("merge", key) => field.patch = Strategy::MergeBy(key),
            ("replace", _) => field.patch = Strategy::Replace,
            ("retain", _) => field.retain_keys = true,
            ("go", name) => field.go = Some(name),
            _ => unreachable!("types.txt: attribute {word:?} of {json}"),
        }
    }
    field
}

/// `protocol` is the one key that has a default in the API.
fn key(name: &'static str) -> Key {
    Key {
        name: name.into(),
        default: (name == "protocol").then(|| "TCP".into()),
    }
}

fn kind(word: &'static str, names: &HashMap<&'static str, Schema>) -> Kind {
    if let Some(of) = word.strip_prefix("[]") {
        return Kind::List(Box::new(kind(of, names)));
    }
    if let Some(of) = word.strip_prefix("{}") {
        return Kind::Map(Box::new(kind(of, names)));
    }
    if let Some(name) = word.strip_prefix('@') {
        return Kind::Struct(names[name].clone());
    }
    match word {
        "s" => Kind::String,
        "i" => Kind::Int32,
        "l" => Kind::Int64,
        "d" => Kind::Float,
        "b" => Kind::Bool,
        "y" => Kind::Bytes,
        "q" => Kind::Quantity,
        "t" => Kind::Time,
        "u" => Kind::MicroTime,
        "x" => Kind::IntOrString,
        "r" => Kind::Any,
        "w" => Kind::Strings,
        "A" => Kind::SchemaOrArray,
        "O" => Kind::SchemaOrBool,
        "S" => Kind::SchemaOrStrings,
        _ => unreachable!("types.txt: kind {word:?}"),
    }
}
