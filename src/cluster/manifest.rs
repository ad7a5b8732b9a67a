//! Reading manifests: YAML or JSON text into objects that remember the lines they came from.
//!
//! `kubectl` reads YAML 1.1, where `0644` is 420 and `yes` is true, and people's manifests rely on it; so scalars are resolved here, by
//! those rules, from the events of a parser. Manifests come from anywhere: size, depth and the growth of aliases are bounded.

mod build;
mod scalar;

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// Longest text read.
const LONGEST: usize = 10 * 1024 * 1024;

/// Where a value stands, and the values inside it, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Place {
    /// Line of a key's, else of the value's own beginning; 1-based.
    pub(super) line: u32,
    inside: Vec<Place>,
}

/// One object of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    /// The object.
    pub(super) object: Value,
    /// Where it stands.
    pub(super) place: Place,
}

/// Reads every object of a text, those inside of lists included.
///
/// # Errors
///
/// Names the line of what cannot be understood.
pub(super) fn parse(text: &str) -> Result<Vec<Manifest>> {
    if text.len() > LONGEST {
        return Err(Error::new(ErrorKind::Config, "the manifest is larger than 10 MiB")
            .hint("apply it in pieces, or keep data out of manifests"));
    }
    let documents = match build::documents(text) {
        Ok(documents) => documents,
        // Several JSON objects one after another are no YAML, and neither are some of JSON's escapes.
        Err(error) => json(text).ok_or(error)?,
    };
    let mut manifests = Vec::new();
    for document in documents {
        flatten(document, &mut manifests)?;
    }
    Ok(manifests)
}

/// The one object of a text.
///
/// # Errors
///
/// As [`parse`], and when there is none, or more than one.
pub fn object(text: &str) -> Result<Value> {
    let mut manifests = parse(text)?;
    match manifests.len() {
        1 => Ok(manifests.remove(0).object),
        0 => Err(Error::new(ErrorKind::Invalid, "the text holds no object")),
        count => Err(Error::new(
            ErrorKind::Invalid,
            format!("the text holds {count} objects, and should hold one"),
        )
        .hint("apply a file to change several")),
    }
}

fn flatten(document: Manifest, out: &mut Vec<Manifest>) -> Result<()> {
    let is_list = document.object["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"));
    match document.object {
        Value::Null => Ok(()),
        Value::Object(mut map) if is_list && map.get("items").is_some_and(Value::is_array) => {
            let at = map.keys().position(|key| key == "items").unwrap_or_default();
            let places = document.place.inside.into_iter().nth(at).unwrap_or_default();
            let Some(Value::Array(items)) = map.remove("items") else {
                return Ok(());
            };
            let mut places = places.inside.into_iter();
            for object in items {
                let place = places.next().unwrap_or_else(|| Place {
                    line: document.place.line,
                    inside: Vec::new(),
                });
                flatten(Manifest { object, place }, out)?;
            }
            Ok(())
        }
        object @ Value::Object(_) => {
            out.push(Manifest {
                object,
                place: document.place,
            });
            Ok(())
        }
        _ => Err(at(document.place.line, "this is no Kubernetes object")
            .hint("an object has apiVersion, kind and metadata; documents are separated by lines of ---")),
    }
}

/// JSON objects one after another. Their insides have no lines of their own.
fn json(text: &str) -> Option<Vec<Manifest>> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut documents = Vec::new();
    let (mut seen, mut line) = (0, 1);
    loop {
        let from = text.len() - text[stream.byte_offset()..].trim_start().len();
        line += text[seen..from].matches('\n').count();
        seen = from;
        match stream.next() {
            None => return Some(documents),
            Some(Err(_)) => return None,
            Some(Ok(object)) => {
                let place = Place {
                    line: u32::try_from(line).unwrap_or(u32::MAX),
                    inside: Vec::new(),
                };
                documents.push(Manifest { object, place });
            }
        }
    }
}

fn at(line: u32, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("line {line}: {what}"))
}

/// One step of a path into an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// The value of a key.
    Key(String),
    /// The item at a position.
    Index(usize),
    /// The item that has these values.
    Having(Vec<(String, String)>),
}

impl Manifest {
    /// The line of what `path` names, or of the innermost part of it that is there, and how many of its steps are.
    pub(super) fn line_of(&self, path: &[Step]) -> (u32, usize) {
        let (mut value, mut place) = (&self.object, &self.place);
        for (depth, step) in path.iter().enumerate() {
            let at = match (step, value) {
                (Step::Key(key), Value::Object(map)) => map.keys().position(|known| known == key),
                (Step::Index(at), Value::Array(_)) => Some(*at),
                (Step::Having(wanted), Value::Array(items)) => items.iter().position(|item| {
                    wanted.iter().all(|(key, word)| match &item[key.as_str()] {
                        Value::String(text) => text == word,
                        Value::Null => false,
                        Value::Bool(yes) => *word == if *yes { "true" } else { "false" },
                        other => other.as_f64().is_some_and(|number| word.parse() == Ok(number)),
                    })
                }),
                _ => None,
            };
            let inside = at.and_then(|at| {
                let value = match value {
                    Value::Object(map) => map.values().nth(at),
                    other => other.get(at),
                };
                Some((value?, place.inside.get(at)?))
            });
            match inside {
                Some(found) => (value, place) = found,
                None => return (place.line, depth),
            }
        }
        (place.line, path.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects(text: &str) -> Vec<(u32, Value)> {
        let manifests = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        manifests
            .into_iter()
            .map(|manifest| (manifest.place.line, manifest.object))
            .collect()
    }

    fn refusal(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    #[test]
    fn documents_and_lists_become_objects_with_lines() {
        assert_eq!(
            objects(
                "# first\nkind: A\n---\n\n---\n# nothing\n---\nkind: List\nitems:\n- kind: B\n  x: 1\n- kind: CList\n  items: [{kind: C}]\n"
            ),
            [
                (2, json!({"kind": "A"})),
                (10, json!({"kind": "B", "x": 1})),
                (13, json!({"kind": "C"}))
            ]
        );
        assert_eq!(objects(""), []);
        assert_eq!(objects("\u{feff}kind: A"), [(1, json!({"kind": "A"}))]);
    }

    #[test]
    fn json_is_read_also_one_object_after_another() {
        assert_eq!(objects("{\n\t\"kind\": \"A\"}"), [(1, json!({"kind": "A"}))]);
        assert_eq!(
            objects("{\"kind\": \"A\", \"x\": \"\\ud83d\\ude00\"}\n\n{\"kind\": \"B\"}"),
            [(1, json!({"kind": "A", "x": "😀"})), (3, json!({"kind": "B"}))]
        );
    }

    #[test]
    fn mistakes_are_refused_with_their_line() {
        for (text, expected) in [
            ("kind: A\n  x: 1\n", "line 2"),
            (
                "kind: A\n---\nkind: B\nkind: C\n",
                "line 4: the key \"kind\" is given twice",
            ),
            ("a: *x\n", "line 1"),
            ("- just\n- a list\n", "line 1: this is no Kubernetes object"),
            ("kind: A\n---\nwords", "line 3: this is no Kubernetes object"),
            ("a: [1, 2", "line"),
            ("{\"kind\": \"A\",}x", "line 1"),
            ("a:\n  x: .nan\n", "line 2: .nan is no JSON number"),
            ("? [a]\n: b\n", "line 1"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(expected), "{text:?}: {refusal}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let inner = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        assert!(refusal(&laughs).contains("too many values"));
        assert!(refusal(&"[".repeat(100_000)).contains("line 1"));
        assert!(refusal(&"x".repeat(LONGEST + 1)).contains("10 MiB"));
        assert!(refusal("a: &a [*a]").contains("line 1"));
        assert!(refusal(&format!("a: {}", "[".repeat(200) + &"]".repeat(200))).contains("deep"));
    }

    #[test]
    fn paths_lead_to_lines() {
        let text = "kind: A\nspec:\n  list:\n  - name: x\n    port: 80\n  - name: z\n    'key': {in: 1}\n";
        let manifest = parse(text).expect("YAML").remove(0);
        let key = |key: &str| Step::Key(key.to_owned());
        let having = |name: &str| Step::Having(vec![("name".to_owned(), name.to_owned())]);
        for (path, expected) in [
            (vec![], (1, 0)),
            (vec![key("spec"), key("list")], (3, 2)),
            (
                vec![key("spec"), key("list"), Step::Index(1), key("key"), key("in")],
                (7, 5),
            ),
            (vec![key("spec"), key("list"), having("z")], (6, 3)),
            (vec![key("spec"), key("list"), having("x"), key("port")], (5, 4)),
            (vec![key("spec"), key("list"), Step::Index(0), key("image")], (4, 3)),
            (vec![key("spec"), key("list"), Step::Index(7)], (3, 2)),
            (vec![key("status")], (1, 0)),
        ] {
            assert_eq!(manifest.line_of(&path), expected, "{path:?}");
        }
    }

    #[test]
    fn merge_keys_give_what_is_not_given() {
        let text = "base: &base {a: 1, b: 2}\nkind: A\nx:\n  <<: *base\n  b: 3\n";
        assert_eq!(objects(text)[0].1["x"], json!({"b": 3, "a": 1}));
    }
}
