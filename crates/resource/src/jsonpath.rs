//! The JSONPath of kubectl, which printer columns of custom resources are written in.
//!
//! See "JSONPath Support" in the Kubernetes documentation: fields, indices, slices, unions, wildcards, filters and recursive
//! descent, without the expressions of other dialects.

use serde_json::Value;

/// A path, understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    /// `[start:end:step]`; `[n]` is `[n:n+1]`.
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    Union(Vec<Step>),
    Filter(Operand, Option<(&'static str, Operand)>),
    Recursive,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Literal(Value),
    Path(JsonPath),
}

/// A path may be as deep as this; it comes from a client.
const STEPS: usize = 256;

impl JsonPath {
    /// Reads a path such as `.spec.replicas` or `.status.conditions[?(@.type=="Ready")].status`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            rest: text,
            whole: text,
            depth: 0,
        };
        let steps = parser.steps(false)?;
        match parser.rest {
            "" => Ok(Self(steps)),
            rest => Err(format!("unexpected {rest:?} in {text:?}")),
        }
    }

    /// The values the path leads to, in order. A field that is not there leads to none.
    pub(crate) fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found
    }
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Wildcard => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            },
            Self::Index(at) => {
                let Some(items) = value.as_array() else {
                    return Vec::new();
                };
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let at = if *at < 0 { length + at } else { *at };
                usize::try_from(at)
                    .ok()
                    .and_then(|at| items.get(at))
                    .into_iter()
                    .collect()
            }
            Self::Slice(start, end, step) => {
                let Some(items) = value.as_array() else {
                    return Vec::new();
                };
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let place = |at: i64| if at < 0 { length + at } else { at }.clamp(0, length);
                let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(length)));
                let mut found = Vec::new();
                let mut at = start;
                while at < end {
                    found.extend(usize::try_from(at).ok().and_then(|at| items.get(at)));
                    at += (*step).max(1);
                }
                found
            }
            Self::Union(steps) => steps.iter().flat_map(|step| step.apply(value)).collect(),
            Self::Filter(left, condition) => match value {
                Value::Array(items) => items
                    .iter()
                    .filter(|item| holds(item, left, condition.as_ref()))
                    .collect(),
                _ => Vec::new(),
            },
            Self::Recursive => {
                let mut found = Vec::new();
                descend(value, &mut found);
                found
            }
        }
    }
}

fn descend<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| descend(item, found)),
        Value::Object(map) => map.values().for_each(|inner| descend(inner, found)),
        _ => {}
    }
}

fn holds(item: &Value, left: &Operand, condition: Option<&(&'static str, Operand)>) -> bool {
    let value = |operand: &Operand| match operand {
        Operand::Literal(value) => Some(value.clone()),
        Operand::Path(path) => path.find(item).first().map(|value| (*value).clone()),
    };
    let Some(left) = value(left) else { return false };
    let Some((operator, right)) = condition else {
        return true;
    };
    let Some(right) = value(right) else { return false };
    let order = match (&left, &right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    let Some(order) = order else { return *operator == "!=" };
    match *operator {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

struct Parser<'a> {
    rest: &'a str,
    whole: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn fail<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("{what} in {:?}", self.whole))
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// The steps up to the end, or in a filter up to what cannot be part of a path.
    fn steps(&mut self, in_filter: bool) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        self.depth += 1;
        if self.depth > STEPS {
            return self.fail("too many nested filters");
        }
        if !self.eat("@") {
            self.eat("$");
        }
        loop {
            if steps.len() > STEPS {
                return self.fail("too many steps");
            }
            if self.eat("..") {
                steps.push(Step::Recursive);
                if !self.rest.starts_with('[') && !self.rest.is_empty() {
                    steps.push(self.field()?);
                }
            } else if self.eat(".") {
                if self.rest.is_empty() && steps.is_empty() {
                    break;
                }
                if !self.rest.starts_with('[') {
                    steps.push(self.field()?);
                }
            } else if self.eat("[") {
                steps.push(self.bracket()?);
            } else if !in_filter && steps.is_empty() && !self.rest.is_empty() {
                steps.push(self.field()?);
            } else {
                break;
            }
        }
        self.depth -= 1;
        Ok(steps)
    }

    fn field(&mut self) -> Result<Step, String> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | ')' | ' ' | '=' | '!' | '<' | '>' | ',' | '{' | '}' | '|' | '&' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => self.fail("a name is missing"),
            "*" => Ok(Step::Wildcard),
            _ => Ok(Step::Field(name)),
        }
    }

    /// What follows a `[`.
    fn bracket(&mut self) -> Result<Step, String> {
        self.blanks();
        if self.eat("?(") {
            let step = self.filter()?;
            self.blanks();
            if !(self.eat(")") && self.eat("]")) {
                return self.fail("unterminated filter");
            }
            return Ok(step);
        }
        let mut steps = Vec::new();
        loop {
            self.blanks();
            let step = if self.eat("*") {
                Step::Wildcard
            } else if self.rest.starts_with(['\'', '"']) {
                match self.quoted()? {
                    Value::String(name) => Step::Field(name),
                    _ => return self.fail("a name is missing"),
                }
            } else {
                self.slice()?
            };
            steps.push(step);
            self.blanks();
            if self.eat("]") {
                break;
            }
            if !self.eat(",") {
                return self.fail("unterminated array");
            }
        }
        Ok(match steps.len() {
            1 => steps.remove(0),
            _ => Step::Union(steps),
        })
    }

    fn slice(&mut self) -> Result<Step, String> {
        let end = self.rest.find([',', ']']).unwrap_or(self.rest.len());
        let text = self.rest[..end].trim();
        self.rest = &self.rest[end..];
        let number = |text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse::<i64>().map(Some),
        };
        let parts: Result<Vec<Option<i64>>, _> = text.split(':').map(number).collect();
        match parts.as_deref() {
            Ok([Some(at)]) => Ok(Step::Index(*at)),
            Ok([start, end]) => Ok(Step::Slice(*start, *end, 1)),
            Ok([start, end, step]) => Ok(Step::Slice(*start, *end, step.unwrap_or(1))),
            _ => self.fail(&format!("invalid array index {text}")),
        }
    }

    fn filter(&mut self) -> Result<Step, String> {
        let left = self.operand()?;
        self.blanks();
        for operator in ["==", "!=", "<=", ">=", "<", ">"] {
            if self.eat(operator) {
                let right = self.operand()?;
                return Ok(Step::Filter(left, Some((operator, right))));
            }
        }
        Ok(Step::Filter(left, None))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.blanks();
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(Operand::Literal);
        }
        if self.rest.starts_with(['@', '$', '.']) {
            return Ok(Operand::Path(JsonPath(self.steps(true)?)));
        }
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '+' | '.')))
            .unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        match serde_json::from_str(text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Operand::Literal(value)),
            _ => self.fail(&format!("unrecognized identifier {text}")),
        }
    }

    fn quoted(&mut self) -> Result<Value, String> {
        let mut chars = self.rest.char_indices();
        let Some((_, quote)) = chars.next() else {
            return self.fail("a text is missing");
        };
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, c)| c)),
                c if c == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(text.into());
                }
                c => text.push(c),
            }
        }
        self.fail("unterminated quoted string")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({
            "spec": {"n": 3, "a.b": "dotted", "ports": [{"port": 80, "name": "x"}, {"port": 443, "name": "y"}]},
            "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        let find = |path: &str| -> Vec<Value> {
            let path = JsonPath::parse(path).unwrap_or_else(|error| panic!("{error}"));
            path.find(&object).into_iter().cloned().collect()
        };
        for (path, expected) in [
            (".spec.n", json!([3])),
            ("spec.n", json!([3])),
            (r".spec.a\.b", json!(["dotted"])),
            (".spec['a.b']", json!(["dotted"])),
            (".spec.ports[0].port", json!([80])),
            (".spec.ports[-1].port", json!([443])),
            (".spec.ports[*].name", json!(["x", "y"])),
            (".spec.ports[0:1].name", json!(["x"])),
            (".spec.ports[0,1].port", json!([80, 443])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type == 'Ready')].status", json!(["True"])),
            (".spec.ports[?(@.port>100)].name", json!(["y"])),
            (".spec.ports[?(@.name)].port", json!([80, 443])),
            ("..port", json!([80, 443])),
            (".spec.none.deeper", json!([])),
        ] {
            assert_eq!(Value::from(find(path)), expected, "{path}");
        }
        for bad in [".spec[", ".spec[?(@.a==", ".spec.[x]", ".a[b]", ".spec['x"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
