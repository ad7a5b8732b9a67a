//! From the events of a YAML parser to values and their places.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

use super::{Manifest, Place, at, scalar};
use crate::error::Result;

/// Values in a text, with what aliases repeat.
const MOST: usize = 1_000_000;

/// Collections inside collections.
const DEEPEST: usize = 100;

/// The documents of a text.
pub(super) fn documents(text: &str) -> Result<Vec<Manifest>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let mut documents = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| at(line(error.marker().line()), error.info()))?;
        match event {
            Event::DocumentStart(_) => builder.anchors.clear(),
            Event::DocumentEnd => {
                if let Some(node) = builder.done.take() {
                    documents.push(Manifest {
                        object: node.value,
                        place: node.place,
                    });
                }
            }
            event => builder.event(event, &span)?,
        }
    }
    Ok(documents)
}

fn line(line: usize) -> u32 {
    u32::try_from(line.max(1)).unwrap_or(u32::MAX)
}

#[derive(Clone)]
struct Node {
    value: Value,
    place: Place,
    /// Values in it, itself included.
    size: usize,
}

enum Open {
    List {
        items: Vec<Value>,
    },
    Map {
        map: Map<String, Value>,
        key: Option<Key>,
        merges: Vec<Node>,
    },
}

struct Key {
    name: String,
    line: u32,
    merge: bool,
}

struct Frame {
    open: Open,
    places: Vec<Place>,
    line: u32,
    anchor: usize,
    size: usize,
}

#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    done: Option<Node>,
    /// Values made so far.
    made: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<()> {
        let line = line(span.start.line());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.wants_key() {
                    return self.key(&text, style, line);
                }
                self.count(1, line)?;
                let value = self::value(&text, style, tag.as_deref()).map_err(|error| at(line, &error))?;
                self.give(
                    Node {
                        value,
                        place: Place {
                            line,
                            inside: Vec::new(),
                        },
                        size: 1,
                    },
                    anchor,
                )
            }
            Event::Alias(anchor) => {
                let Some(size) = self.anchors.get(&anchor).map(|node| node.size) else {
                    return Err(at(line, "an alias stands inside what it repeats"));
                };
                self.count(size, line)?;
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Ok(());
                };
                if self.wants_key() {
                    return match &node.value {
                        Value::String(text) => self.key(text, ScalarStyle::DoubleQuoted, line),
                        _ => Err(at(line, "a key must be a word")),
                    };
                }
                self.give(node, 0)
            }
            Event::SequenceStart(anchor, _) => self.open(Open::List { items: Vec::new() }, line, anchor),
            Event::MappingStart(anchor, _) => self.open(
                Open::Map {
                    map: Map::new(),
                    key: None,
                    merges: Vec::new(),
                },
                line,
                anchor,
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => Ok(()),
        }
    }

    /// Counts values before they are made: what aliases repeat grows beyond all bounds in a few lines.
    fn count(&mut self, more: usize, line: u32) -> Result<()> {
        self.made = self.made.saturating_add(more);
        if self.made > MOST {
            Err(at(line, "there are too many values, counting what aliases repeat"))
        } else {
            Ok(())
        }
    }

    fn wants_key(&self) -> bool {
        matches!(
            self.stack.last(),
            Some(Frame {
                open: Open::Map { key: None, .. },
                ..
            })
        )
    }

    fn key(&mut self, text: &str, style: ScalarStyle, line: u32) -> Result<()> {
        if let Some(Frame {
            open: Open::Map { map, key, .. },
            ..
        }) = self.stack.last_mut()
        {
            if map.contains_key(text) {
                return Err(at(line, &format!("the key {text:?} is given twice")));
            }
            let merge = text == "<<" && style == ScalarStyle::Plain;
            *key = Some(Key {
                name: text.to_owned(),
                line,
                merge,
            });
        }
        Ok(())
    }

    fn open(&mut self, open: Open, line: u32, anchor: usize) -> Result<()> {
        if self.wants_key() {
            return Err(at(line, "a key must be a word"));
        }
        if self.stack.len() >= DEEPEST {
            return Err(at(line, "this is nested too deep"));
        }
        self.count(1, line)?;
        self.stack.push(Frame {
            open,
            places: Vec::new(),
            line,
            anchor,
            size: 1,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let Frame {
            open,
            mut places,
            line,
            anchor,
            size,
        } = frame;
        let value = match open {
            Open::List { items } => Value::Array(items),
            Open::Map { mut map, merges, .. } => {
                for node in merges {
                    merge(&mut map, &mut places, node.value, &node.place);
                }
                Value::Object(map)
            }
        };
        self.give(
            Node {
                value,
                place: Place { line, inside: places },
                size,
            },
            anchor,
        )
    }

    /// Puts a finished value where it belongs.
    fn give(&mut self, node: Node, anchor: usize) -> Result<()> {
        if anchor > 0 {
            self.count(node.size, node.place.line)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.done = Some(node);
            return Ok(());
        };
        frame.size += node.size;
        match &mut frame.open {
            Open::List { items } => {
                items.push(node.value);
                frame.places.push(node.place);
            }
            Open::Map { map, key, merges } => {
                let Some(key) = key.take() else { return Ok(()) };
                if key.merge {
                    merges.push(node);
                    return Ok(());
                }
                map.insert(key.name, node.value);
                frame.places.push(Place {
                    line: key.line,
                    inside: node.place.inside,
                });
            }
        }
        Ok(())
    }
}

/// Adds the entries of a merged map, or of several, that are not there.
fn merge(map: &mut Map<String, Value>, places: &mut Vec<Place>, value: Value, place: &Place) {
    match value {
        Value::Object(other) => {
            for (at, (key, value)) in other.into_iter().enumerate() {
                if !map.contains_key(&key) {
                    map.insert(key, value);
                    places.push(place.inside.get(at).cloned().unwrap_or_default());
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.into_iter().enumerate().filter(|(_, item)| item.is_object()) {
                merge(map, places, item, place.inside.get(at).unwrap_or(place));
            }
        }
        _ => {}
    }
}

fn value(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(Value::String(text.to_owned())),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix != "binary" => scalar::resolve(text),
        None if style == ScalarStyle::Plain => scalar::resolve(text),
        _ => Ok(Value::String(text.to_owned())),
    }
}
