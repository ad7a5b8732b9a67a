//! JSON, with duplicate fields found while reading.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{ParseError, Path};

/// The document and its duplicate fields (`duplicate field "spec.replicas"`); of duplicates the last one counts.
pub fn parse(body: &[u8]) -> Result<(Value, Vec<String>), ParseError> {
    let state = RefCell::new(State::default());
    // serde_json itself refuses what nests deeper than 128.
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Node(&state)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    // serde_json also refuses what Go takes: numbers out of range, and nesting that is deep.
    let value =
        value.map_err(|error| ParseError(super::go::syntax_error(body).unwrap_or_else(|| error.to_string())))?;
    Ok((value, state.into_inner().duplicates))
}

#[derive(Default)]
struct State {
    path: Path,
    duplicates: Vec<String>,
}

/// Reads one value. serde's own `Value` keeps the last of two equal keys and says nothing.
struct Node<'a>(&'a RefCell<State>);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let before = self.0.borrow().path.0.len();
            let index = format!("[{}]", list.len());
            self.0.borrow_mut().path.0.push_str(&index);
            let item = items.next_element_seed(Node(self.0))?;
            self.0.borrow_mut().path.0.truncate(before);
            match item {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let before = {
                let state = &mut *self.0.borrow_mut();
                let before = state.path.0.len();
                if before > 0 {
                    state.path.0.push('.');
                }
                state.path.0.push_str(&key);
                if map.contains_key(&key) {
                    let message = format!("duplicate field {:?}", state.path.0);
                    if !state.duplicates.contains(&message) && state.duplicates.len() < 100 {
                        state.duplicates.push(message);
                    }
                }
                before
            };
            let value = fields.next_value_seed(Node(self.0))?;
            self.0.borrow_mut().path.0.truncate(before);
            map.insert(key, value);
        }
        Ok(map.into())
    }
}
