//! Values. What comes from JSON is looked at where it lies: nothing is copied until an expression asks for it.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine;
use serde_json::Value;

use crate::decl::{DYN, DYN_LIST, DYN_MAP, DeclType, ListKind, Shape};
use crate::eval::{Cx, Fault, Outcome, fail};
use crate::library::opaque::Opaque;
use crate::library::time::{self, Timestamp};
use crate::types::Type;

/// A value of an expression.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    /// `null`
    Null,
    /// Truth.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating point number.
    Double(f64),
    /// Text.
    String(Str<'a>),
    /// Octets.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    /// A list.
    List(List<'a>),
    /// A map or an object with fields.
    Map(Map<'a>),
    /// A type as a value.
    Type(Type),
    /// Something or nothing.
    Optional(Option<Arc<Val<'a>>>),
    /// An object that the expression made: `Object{}`, `JSONPatch{}`.
    Object(Arc<Object<'a>>),
    /// A value of a library.
    Opaque(Opaque),
}

/// Text, borrowed or shared.
#[derive(Clone, Debug)]
pub enum Str<'a> {
    /// From the input.
    Borrowed(&'a str),
    /// Made by an expression.
    Shared(Arc<str>),
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Str::Borrowed(text) => text,
            Str::Shared(text) => text,
        }
    }
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Made by an expression.
    Items(Arc<Vec<Val<'a>>>),
    /// From the input; the type is that of the list.
    Json(&'a [Value], &'a DeclType),
    /// Two, one after the other, and how long they are together.
    Concat(Arc<(List<'a>, List<'a>)>, usize),
}

/// A map.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Made by an expression.
    Entries(Arc<Entries<'a>>),
    /// From the input; the type is that of the map or object.
    Json(&'a serde_json::Map<String, Value>, &'a DeclType),
}

/// Entries in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a> {
    order: Vec<(Val<'a>, Val<'a>)>,
    index: HashMap<Key, usize>,
}

/// An object made by an expression.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    /// Its type.
    pub name: Arc<str>,
    /// Its fields in the order they were given.
    pub fields: Vec<(Arc<str>, Val<'a>)>,
}

/// What a map is looked up by: numbers that are equal are the same key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Bool(bool),
    Number(i128),
    String(Arc<str>),
}

impl<'a> Entries<'a> {
    /// Adds or replaces. False: replaced.
    pub(crate) fn insert(&mut self, key: Val<'a>, value: Val<'a>) -> Outcome<bool> {
        let Some(hashed) = key_of(&key) else {
            return fail(format!("unsupported key type: {}", key.type_of().name()));
        };
        if let Some(at) = self.index.get(&hashed) {
            self.order[*at] = (key, value);
            return Ok(false);
        }
        self.index.insert(hashed, self.order.len());
        self.order.push((key, value));
        Ok(true)
    }

    fn get(&self, key: &Val<'a>) -> Option<&Val<'a>> {
        let at = self.index.get(&key_of(key)?)?;
        self.order.get(*at).map(|(_, value)| value)
    }
}

fn key_of(key: &Val<'_>) -> Option<Key> {
    Some(match key {
        Val::Bool(value) => Key::Bool(*value),
        Val::Int(number) => Key::Number(i128::from(*number)),
        Val::Uint(number) => Key::Number(i128::from(*number)),
        Val::Double(number) if number.fract() == 0.0 && number.abs() < 2e19 => Key::Number(*number as i128),
        Val::String(text) => Key::String((&**text).into()),
        _ => return None,
    })
}

impl<'a> Val<'a> {
    /// Text that an expression made.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Val::String(Str::Shared(text.into()))
    }

    /// A list that an expression made.
    pub fn list(items: Vec<Val<'a>>) -> Self {
        Val::List(List::Items(Arc::new(items)))
    }

    /// Something.
    pub(crate) fn some(value: Val<'a>) -> Self {
        Val::Optional(Some(Arc::new(value)))
    }

    /// A value that may be missing.
    pub fn optional(value: Option<Val<'a>>) -> Self {
        Val::Optional(value.map(Arc::new))
    }

    /// JSON as its declared type says.
    ///
    /// # Errors
    /// It is not of that type. Only what is looked at is checked: the inside of objects and lists is not.
    pub fn from_json(value: &'a Value, ty: &'a DeclType) -> Result<Self, EvalError> {
        json(value, ty).map_err(EvalError::from)
    }

    /// JSON without a declared type.
    pub fn dynamic(value: &'a Value) -> Self {
        json(value, &DYN).unwrap_or(Val::Null)
    }

    /// The type of the value, with parameters left open.
    pub fn type_of(&self) -> Type {
        match self {
            Val::Null => Type::Null,
            Val::Bool(_) => Type::Bool,
            Val::Int(_) => Type::Int,
            Val::Uint(_) => Type::Uint,
            Val::Double(_) => Type::Double,
            Val::String(_) => Type::String,
            Val::Bytes(_) => Type::Bytes,
            Val::Timestamp(_) => Type::Timestamp,
            Val::Duration(_) => Type::Duration,
            Val::List(_) => Type::list(Type::Dyn),
            Val::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Val::Type(_) => Type::Type(None),
            Val::Optional(_) => Type::optional(Type::Dyn),
            Val::Object(object) => Type::Object(object.name.clone()),
            Val::Opaque(opaque) => opaque.type_of(),
        }
    }

    /// What `size` says, as far as it says anything.
    pub(crate) fn size(&self) -> Option<u64> {
        Some(match self {
            Val::String(text) => text.chars().count() as u64,
            Val::Bytes(bytes) => bytes.len() as u64,
            Val::List(list) => list.len() as u64,
            Val::Map(map) => map.len() as u64,
            Val::Opaque(opaque) => return opaque.size(),
            _ => return None,
        })
    }

    /// Whether it is what `optional.ofNonZeroValue` takes for nothing.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Val::Null => true,
            Val::Bool(value) => !value,
            Val::Int(number) => *number == 0,
            Val::Uint(number) => *number == 0,
            Val::Double(number) => *number == 0.0,
            Val::Duration(nanos) => *nanos == 0,
            Val::Optional(inner) => inner.is_none(),
            Val::Object(object) => object.fields.is_empty(),
            other => other.size() == Some(0),
        }
    }

    /// As text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Val::String(text) => Some(text),
            _ => None,
        }
    }

    /// As JSON.
    ///
    /// # Errors
    /// It has no form in JSON (a type, an address, a decision).
    pub fn to_json(&self) -> Result<Value, EvalError> {
        self.json().map_err(EvalError::from)
    }

    fn json(&self) -> Outcome<Value> {
        Ok(match self {
            Val::Null => Value::Null,
            Val::Bool(value) => Value::Bool(*value),
            Val::Int(number) => (*number).into(),
            Val::Uint(number) => (*number).into(),
            Val::Double(number) => (*number).into(),
            Val::String(text) => Value::String(text.to_string()),
            Val::Bytes(bytes) => Value::String(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Val::Timestamp(at) => Value::String(at.to_string()),
            Val::Duration(nanos) => Value::String(time::duration_text(*nanos)),
            Val::List(List::Json(items, _)) => Value::Array(items.to_vec()),
            Val::Map(Map::Json(map, _)) => Value::Object((*map).clone()),
            Val::List(list) => {
                let mut items = Vec::with_capacity(list.len());
                list.each(&mut |item| {
                    items.push(item.json()?);
                    Ok(true)
                })?;
                Value::Array(items)
            }
            Val::Map(map) => {
                let mut object = serde_json::Map::new();
                map.each(&mut |key, value| {
                    let Val::String(key) = &key else {
                        return fail(format!("unsupported key type for JSON: {}", key.type_of().name()));
                    };
                    object.insert(key.to_string(), value.json()?);
                    Ok(true)
                })?;
                Value::Object(object)
            }
            Val::Object(made) => {
                let mut object = serde_json::Map::new();
                for (name, value) in &made.fields {
                    object.insert(name.to_string(), value.json()?);
                }
                Value::Object(object)
            }
            Val::Optional(Some(inner)) => inner.json()?,
            Val::Optional(None) => Value::Null,
            Val::Type(_) | Val::Opaque(_) => {
                if let Val::Opaque(Opaque::Quantity(quantity)) = self {
                    return Ok(Value::String(quantity.to_string()));
                }
                return fail(format!(
                    "type conversion error from '{}' to JSON",
                    self.type_of().name()
                ));
            }
        })
    }
}

/// As messages show it.
impl fmt::Display for Val<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Val::Null => f.write_str("null"),
            Val::Bool(value) => write!(f, "{value}"),
            Val::Int(number) => write!(f, "{number}"),
            Val::Uint(number) => write!(f, "{number}"),
            Val::Double(number) => f.write_str(&crate::library::number::double_text(*number)),
            Val::String(text) => f.write_str(text),
            Val::Type(ty) => f.write_str(ty.name()),
            other => f.write_str(other.type_of().name()),
        }
    }
}

/// One value of JSON.
fn json<'a>(value: &'a Value, ty: &'a DeclType) -> Outcome<Val<'a>> {
    if value.is_null() {
        return if ty.is_nullable() {
            Ok(Val::Null)
        } else {
            fail("invalid data, got null for schema with nullable=false")
        };
    }
    Ok(match (&ty.shape, value) {
        (Shape::Dyn, Value::Bool(truth)) | (Shape::Bool, Value::Bool(truth)) => Val::Bool(*truth),
        (Shape::Double, Value::Number(number)) => Val::Double(number.as_f64().unwrap_or_default()),
        (Shape::Dyn, Value::Number(number)) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Val::Int(number),
            (None, Some(number)) => Val::Uint(number),
            _ => Val::Double(number.as_f64().unwrap_or_default()),
        },
        (Shape::Int | Shape::IntOrString, Value::Number(number)) => match number.as_i64() {
            Some(number) => Val::Int(number),
            None => return fail("invalid data, expected int, got float64"),
        },
        (Shape::Dyn | Shape::IntOrString | Shape::String, Value::String(text)) => Val::String(Str::Borrowed(text)),
        (Shape::Dyn, Value::Array(items)) => Val::List(List::Json(items, &DYN_LIST)),
        (Shape::List { .. }, Value::Array(items)) => Val::List(List::Json(items, ty)),
        (Shape::Dyn, Value::Object(map)) => Val::Map(Map::Json(map, &DYN_MAP)),
        (Shape::Map(_) | Shape::Object { .. }, Value::Object(map)) => Val::Map(Map::Json(map, ty)),
        (Shape::Bytes, Value::String(text)) => match base64::engine::general_purpose::STANDARD.decode(text) {
            Ok(bytes) => Val::Bytes(bytes.into()),
            Err(error) => return fail(format!("Invalid byte formatted string {text}: {error}")),
        },
        (Shape::DateTime, Value::String(text)) => match Timestamp::parse(text) {
            Some(at) => Val::Timestamp(at),
            None => return fail(format!("Invalid date-time formatted string {text}")),
        },
        (Shape::Date, Value::String(text)) => match Timestamp::parse_date(text) {
            Some(at) => Val::Timestamp(at),
            None => return fail(format!("Invalid date formatted string {text}")),
        },
        (Shape::Duration, Value::String(text)) => match time::parse_long_duration(text) {
            Some(nanos) => Val::Duration(nanos),
            None => return fail(format!("Invalid duration {text}")),
        },
        (shape, _) => {
            let wanted = match shape {
                Shape::Bool => "bool",
                Shape::Int => "int",
                Shape::Double => "float",
                Shape::IntOrString => "XIntOrString value to be either a string or integer",
                Shape::List { .. } => "an array for the provided schema with type=array",
                Shape::Map(_) | Shape::Object { .. } => "a map for the provided schema with type=object",
                _ => "string",
            };
            return fail(format!("invalid data, expected {wanted}"));
        }
    })
}

/// What a visitor of a list is called with; false ends the visit.
type Visit<'v, T> = &'v mut dyn FnMut(T) -> Outcome<bool>;

impl<'a> List<'a> {
    /// How many items.
    pub fn len(&self) -> usize {
        match self {
            List::Items(items) => items.len(),
            List::Json(items, _) => items.len(),
            List::Concat(_, length) => *length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One item, if there are so many.
    pub(crate) fn get(&self, at: usize) -> Outcome<Option<Val<'a>>> {
        match self {
            List::Items(items) => Ok(items.get(at).cloned()),
            List::Json(items, ty) => {
                let item = ty.element().map_or(&*DYN, |item| &**item);
                items.get(at).map(|value| json(value, item)).transpose()
            }
            List::Concat(both, _) => {
                let first = both.0.len();
                if at < first {
                    both.0.get(at)
                } else {
                    both.1.get(at - first)
                }
            }
        }
    }

    /// Visits the items in order.
    pub(crate) fn each(&self, visit: Visit<'_, Val<'a>>) -> Outcome<bool> {
        match self {
            List::Items(items) => {
                for item in items.iter() {
                    if !visit(item.clone())? {
                        return Ok(false);
                    }
                }
            }
            List::Json(items, ty) => {
                let item = ty.element().map_or(&*DYN, |item| &**item);
                for value in *items {
                    if !visit(json(value, item)?)? {
                        return Ok(false);
                    }
                }
            }
            List::Concat(both, _) => {
                return Ok(both.0.each(visit)? && both.1.each(visit)?);
            }
        }
        Ok(true)
    }

    /// All items.
    pub(crate) fn to_vec(&self) -> Outcome<Vec<Val<'a>>> {
        let mut items = Vec::with_capacity(self.len());
        self.each(&mut |item| {
            items.push(item);
            Ok(true)
        })?;
        Ok(items)
    }

    fn kind(&self) -> &'a ListKind {
        match self {
            List::Json(
                _,
                DeclType {
                    shape: Shape::List { kind, .. },
                    ..
                },
            ) => kind,
            _ => &ListKind::Atomic,
        }
    }

    /// `self + other`: sets are united, items of a map list replace those with the same keys.
    pub(crate) fn plus(self, other: List<'a>, cx: &mut Cx<'_, 'a>) -> Outcome<List<'a>> {
        let kind = self.kind();
        if *kind == ListKind::Atomic {
            return Ok(self.concat(other));
        }
        let mut items = self.to_vec()?;
        let mut places: HashMap<String, usize> = HashMap::new();
        for (at, item) in items.iter().enumerate() {
            places.insert(identity(item, kind)?, at);
        }
        other.each(&mut |item| {
            cx.work(1)?;
            match places.get(&identity(&item, kind)?) {
                Some(at) if matches!(kind, ListKind::Map(_)) => items[*at] = item,
                Some(_) => {}
                None => {
                    places.insert(identity(&item, kind)?, items.len());
                    items.push(item);
                }
            }
            Ok(true)
        })?;
        Ok(List::Items(Arc::new(items)))
    }

    fn concat(mut self, other: List<'a>) -> List<'a> {
        if other.is_empty() {
            return self;
        }
        let length = self.len() + other.len();
        if let (List::Items(items), List::Items(more)) = (&mut self, &other) {
            // What only this expression holds grows in place: `map` and `filter` are linear.
            if let Some(items) = Arc::get_mut(items) {
                items.extend(more.iter().cloned());
                return self;
            }
            if length <= 32 {
                return List::Items(Arc::new(items.iter().chain(more.iter()).cloned().collect()));
            }
        }
        List::Concat(Arc::new((self, other)), length)
    }
}

/// What makes an item of a set or a map list the same as another.
fn identity(item: &Val<'_>, kind: &ListKind) -> Outcome<String> {
    let value = item.json()?;
    Ok(match kind {
        ListKind::Map(keys) => {
            let keys: Vec<&Value> = keys.iter().map(|key| value.get(key).unwrap_or(&Value::Null)).collect();
            serde_json::to_string(&keys).unwrap_or_default()
        }
        _ => value.to_string(),
    })
}

impl<'a> Map<'a> {
    /// How many entries.
    pub fn len(&self) -> usize {
        match self {
            Map::Entries(entries) => entries.order.len(),
            Map::Json(map, _) => map.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A map that an expression made.
    pub(crate) fn new(entries: Entries<'a>) -> Self {
        Map::Entries(Arc::new(entries))
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &Val<'a>) -> Outcome<Option<Val<'a>>> {
        match (self, key) {
            (Map::Entries(entries), key) => Ok(entries.get(key).cloned()),
            (Map::Json(map, ty), Val::String(name)) => match &ty.shape {
                Shape::Object { .. } => {
                    let Some(field) = ty.find(name) else { return Ok(None) };
                    // An empty field is a missing field.
                    let value = map.get(&*field.json).filter(|value| !value.is_null());
                    value.map(|value| json(value, field_type(field))).transpose()
                }
                _ => {
                    let element = ty.element().map_or(&*DYN, |element| &**element);
                    map.get(&**name).map(|value| json(value, element)).transpose()
                }
            },
            (Map::Json(..), _) => fail("no such overload"),
        }
    }

    /// Visits the entries.
    pub(crate) fn each(&self, visit: &mut dyn FnMut(Val<'a>, Val<'a>) -> Outcome<bool>) -> Outcome<bool> {
        match self {
            Map::Entries(entries) => {
                for (key, value) in &entries.order {
                    if !visit(key.clone(), value.clone())? {
                        return Ok(false);
                    }
                }
            }
            Map::Json(map, ty) => match &ty.shape {
                Shape::Object { fields, .. } => {
                    for (name, field) in fields {
                        let Some(value) = map.get(&*field.json).filter(|value| !value.is_null()) else {
                            continue;
                        };
                        let key = Val::String(Str::Borrowed(name));
                        if !visit(key, json(value, field_type(field))?)? {
                            return Ok(false);
                        }
                    }
                }
                _ => {
                    let element = ty.element().map_or(&*DYN, |element| &**element);
                    for (key, value) in *map {
                        if !visit(Val::String(Str::Borrowed(key)), json(value, element)?)? {
                            return Ok(false);
                        }
                    }
                }
            },
        }
        Ok(true)
    }

    /// Adds an entry.
    pub(crate) fn insert(&mut self, key: Val<'a>, value: Val<'a>) -> Outcome<bool> {
        match self {
            Map::Entries(entries) => Arc::make_mut(entries).insert(key, value),
            Map::Json(..) => {
                let mut entries = Entries::default();
                self.each(&mut |key, value| entries.insert(key, value))?;
                let added = entries.insert(key, value)?;
                *self = Map::new(entries);
                Ok(added)
            }
        }
    }
}

fn field_type(field: &crate::decl::Field) -> &DeclType {
    &field.ty
}

/// `==`: numbers by amount, lists and maps by content, anything else of two types is different.
pub(crate) fn equal<'a>(first: &Val<'a>, second: &Val<'a>, cx: &mut Cx<'_, 'a>) -> Outcome<bool> {
    cx.work(1)?;
    Ok(match (first, second) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::String(a), Val::String(b)) => **a == **b,
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::Type(a), Val::Type(b)) => a.name() == b.name(),
        (Val::Opaque(a), Val::Opaque(b)) => a == b,
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b, cx)?,
            (None, None) => true,
            _ => false,
        },
        (Val::List(a), Val::List(b)) => equal_lists(a, b, cx)?,
        (Val::Map(a), Val::Map(b)) => equal_maps(a, b, cx)?,
        (Val::Object(a), Val::Object(b)) => {
            a.name == b.name && a.fields.len() == b.fields.len() && {
                for (name, value) in &a.fields {
                    let other = b.fields.iter().find(|(other, _)| other == name);
                    let Some((_, other)) = other else { return Ok(false) };
                    if !equal(value, other, cx)? {
                        return Ok(false);
                    }
                }
                true
            }
        }
        _ => numbers(first, second).is_some_and(|order| order == Some(Ordering::Equal)),
    })
}

fn equal_lists<'a>(first: &List<'a>, second: &List<'a>, cx: &mut Cx<'_, 'a>) -> Outcome<bool> {
    if first.len() != second.len() {
        return Ok(false);
    }
    let kind = first.kind();
    if *kind == ListKind::Atomic {
        for at in 0..first.len() {
            let (Some(a), Some(b)) = (first.get(at)?, second.get(at)?) else {
                return Ok(false);
            };
            if !equal(&a, &b, cx)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let mut places = HashMap::new();
    for (at, item) in first.to_vec()?.iter().enumerate() {
        cx.work(1)?;
        places.insert(identity(item, kind)?, at);
    }
    let mut seen = std::collections::HashSet::new();
    let same = second.each(&mut |item| {
        let Some(at) = places.get(&identity(&item, kind)?) else {
            return Ok(false);
        };
        seen.insert(*at);
        let Some(own) = first.get(*at)? else { return Ok(false) };
        equal(&own, &item, cx)
    })?;
    Ok(same && seen.len() == places.len())
}

fn equal_maps<'a>(first: &Map<'a>, second: &Map<'a>, cx: &mut Cx<'_, 'a>) -> Outcome<bool> {
    if first.len() != second.len() {
        return Ok(false);
    }
    // What the schema preserves without knowing it counts, too.
    if let (Map::Json(a, ty), Map::Json(b, _)) = (first, second)
        && let Shape::Object { fields, .. } = &ty.shape
    {
        let known: std::collections::HashSet<&str> = fields.values().map(|field| &*field.json).collect();
        for (key, value) in a.iter().filter(|(key, _)| !known.contains(key.as_str())) {
            if b.get(key).is_some_and(|other| other != value) {
                return Ok(false);
            }
        }
    }
    first.each(&mut |key, value| match second.get(&key)? {
        Some(other) => equal(&value, &other, cx),
        None => Ok(false),
    })
}

/// How two numbers compare (never, if one is none); `None` if one of them is no number.
fn numbers(first: &Val<'_>, second: &Val<'_>) -> Option<Option<Ordering>> {
    let whole = |value: &Val<'_>| match value {
        Val::Int(number) => Some(i128::from(*number)),
        Val::Uint(number) => Some(i128::from(*number)),
        _ => None,
    };
    // A double beyond these is more or less than any whole number here.
    let against = |number: f64, whole: i128| -> Option<Ordering> {
        if number.is_nan() {
            return None;
        }
        if number >= 1e20 || number <= -1e20 {
            return number.partial_cmp(&0.0);
        }
        let floor = number.floor();
        Some((floor as i128).cmp(&whole).then(if number > floor {
            Ordering::Greater
        } else {
            Ordering::Equal
        }))
    };
    Some(match (first, second) {
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Double(a), b) => against(*a, whole(b)?),
        (a, Val::Double(b)) => against(*b, whole(a)?).map(Ordering::reverse),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    })
}

/// `<` and the like.
pub(crate) fn compare(first: &Val<'_>, second: &Val<'_>) -> Outcome<Ordering> {
    Ok(match (first, second) {
        (Val::Bool(a), Val::Bool(b)) => a.cmp(b),
        (Val::String(a), Val::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Val::Bytes(a), Val::Bytes(b)) => a.cmp(b),
        (Val::Timestamp(a), Val::Timestamp(b)) => a.cmp(b),
        (Val::Duration(a), Val::Duration(b)) => a.cmp(b),
        _ => match numbers(first, second) {
            Some(Some(order)) => order,
            Some(None) => return fail("NaN values cannot be ordered"),
            None => return fail("no such overload"),
        },
    })
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// The evaluation failed; the message is CEL's.
    Failed(String),
    /// One evaluation cost more than the limit of a call.
    CallCost,
    /// The budget of the object is spent.
    Budget,
}

impl From<Fault> for EvalError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Error(message) => EvalError::Failed(message.into_owned()),
            Fault::Halt => EvalError::CallCost,
        }
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvalError::Failed(message) => f.write_str(message),
            EvalError::CallCost => f.write_str("operation cancelled: actual cost limit exceeded"),
            EvalError::Budget => f.write_str(
                "validation failed due to running out of cost budget, no further validation rules will be run",
            ),
        }
    }
}

impl std::error::Error for EvalError {}
