//! Rules of custom resources: values by their schemas.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{Bindings, Budget, DeclType, Env, EvalError, OldSelf, Val};

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "min": {"type": "integer"},
        "max": {"type": "integer"},
        "name": {"type": "string", "maxLength": 10},
        "ratio": {"type": "number"},
        "a-b": {"type": "string"},
        "namespace": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"},
        "data": {"type": "string", "format": "byte"},
        "port": {"x-kubernetes-int-or-string": true},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 4, "items": {"type": "string", "maxLength": 5}},
        "env": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "string"}}}},
        "labels": {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "string", "maxLength": 4}},
        "maybe": {"type": "string", "nullable": true},
        "inner": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "integer"}}},
    }})
}

fn declared() -> Arc<DeclType> {
    Arc::new(
        DeclType::from_schema(&schema(), false)
            .expect("exposed")
            .named("selfType"),
    )
}

fn check(rule: &str, value: &Value, old: Option<&Value>) -> Result<String, EvalError> {
    let ty = declared();
    let env = Env::crd_rules(&ty, OldSelf::Required);
    let program = env.compile(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
    let mut bindings = Bindings::new().with("self", Val::from_json(value, &ty)?);
    if let Some(old) = old {
        bindings = bindings.with("oldSelf", Val::from_json(old, &ty)?);
    }
    program
        .eval(&bindings, &mut Budget::new(Budget::OBJECT))
        .map(|value| value.to_string())
}

#[test]
fn values_have_the_types_of_their_schema() {
    let value = json!({
        "min": 1, "max": 5, "name": "abc", "ratio": 2, "a-b": "x", "namespace": "ns", "at": "2024-01-01T00:00:00Z",
        "wait": "90m", "data": "YWJj", "port": "80", "tags": ["a", "b"], "env": [{"name": "A", "value": "1"}],
        "labels": {"k": "v"}, "maybe": null, "inner": {"known": 1, "unknown": 2},
    });
    for rule in [
        "self.min <= self.max",
        "self.ratio == 2.0",
        "self.a__dash__b == 'x'",
        "self.__namespace__ == 'ns' && self.namespace == 'ns'",
        "self.at < timestamp('2025-01-01T00:00:00Z')",
        "self.wait == duration('1h30m')",
        "self.data == b'abc'",
        "type(self.port) == string && int(self.port) == 80",
        "self.tags.exists(t, t == 'b')",
        "self.tags == ['a', 'b']",
        "self.tags + ['b', 'c'] == ['a', 'b', 'c']",
        "self.env.all(e, e.name == 'A')",
        "self.env[0].value == '1'",
        "self.labels.all(k, self.labels[k] == 'v')",
        "self.labels.k == 'v' && 'k' in self.labels",
        "!has(self.maybe)",
        "has(self.inner.known)",
        "self.?name.orValue('') == 'abc'",
        "self.labels.transformList(k, v, k + v) == ['kv']",
        "size(self.name) == 3",
    ] {
        assert_eq!(check(rule, &value, None), Ok("true".into()), "{rule}");
    }
}

#[test]
fn sets_and_map_lists_compare_without_order() {
    let one = json!({"tags": ["a", "b"], "env": [{"name": "A", "value": "1"}, {"name": "B"}], "inner": {"x": 1}});
    let other = json!({"tags": ["b", "a"], "env": [{"name": "B"}, {"name": "A", "value": "1"}], "inner": {"x": 1}});
    for rule in [
        "self.tags == oldSelf.tags",
        "self.env == oldSelf.env",
        "self == oldSelf",
    ] {
        assert_eq!(check(rule, &one, Some(&other)), Ok("true".into()), "{rule}");
    }
    let changed = json!({"tags": ["b", "c"], "env": [{"name": "A"}, {"name": "B"}], "inner": {"x": 2}});
    for rule in [
        "self.tags == oldSelf.tags",
        "self.env == oldSelf.env",
        "self.inner == oldSelf.inner",
    ] {
        assert_eq!(check(rule, &one, Some(&changed)), Ok("false".into()), "{rule}");
    }
    let replaced = "(self.env + oldSelf.env).map(e, has(e.value))";
    assert_eq!(
        check(&format!("{replaced} == [false, false]"), &one, Some(&changed)),
        Ok("true".into())
    );
}

#[test]
fn errors_say_what_is_missing() {
    let failed = |rule: &str, value: Value| check(rule, &value, None).map_err(|error| error.to_string());
    assert_eq!(failed("self.min > 1", json!({})), Err("no such key: min".into()));
    assert_eq!(
        failed("self.env[3].name == ''", json!({"env": []})),
        Err("index out of bounds: 3".into())
    );
    assert_eq!(
        failed("self.port + 1 == 2", json!({"port": "x"})),
        Err("no such overload".into())
    );
    assert_eq!(
        failed("self.min > 1", json!({"min": null})),
        Err("no such key: min".into())
    );
    assert_eq!(
        failed("self.min > 1 || self.max > 1", json!({"max": 2})),
        Ok("true".into())
    );
}

#[test]
fn what_no_schema_has_does_not_compile() {
    let ty = declared();
    let env = Env::crd_rules(&ty, OldSelf::Required);
    for (rule, message) in [
        (
            "self.nope > 1",
            "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^",
        ),
        (
            "self.min > 'a'",
            "found no matching overload for '_>_' applied to '(int, string)'",
        ),
        (
            "size(self) > 1",
            "found no matching overload for 'size' applied to '(selfType)'",
        ),
        ("self.env.all(e, e.other)", "undefined field 'other'"),
        ("self.tags.all(t, t)", "expected type 'bool' but found 'string'"),
        (
            "self.min.all(t, true)",
            "expression of type 'int' cannot be range of a comprehension",
        ),
        ("self.name.x", "type 'string' does not support field selection"),
        (
            "self.min >",
            "ERROR: <input>:1:11: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | self.min >\n | ..........^",
        ),
        (
            "self.min = 1",
            "ERROR: <input>:1:10: Syntax error: token recognition error at: '= '\n | self.min = 1\n | .........^\nERROR: <input>:1:12: Syntax error: extraneous input '1' expecting <EOF>\n | self.min = 1\n | ...........^",
        ),
        ("(self.min > 1", "Syntax error: missing ')' at '<EOF>'"),
        ("self.a-b == 'x'", "undefined field 'a'"),
        (
            "self.min > 1 self",
            "Syntax error: extraneous input 'self' expecting <EOF>",
        ),
        ("self.for", "undefined field 'for'"),
        ("for", "reserved identifier: for"),
        ("has(self)", "invalid argument to has() macro"),
        ("[1].map(self.x, 1)", "argument is not an identifier"),
        (
            "1 + +",
            "ERROR: <input>:1:5: Syntax error: mismatched input '+' expecting",
        ),
    ] {
        let text = env.compile(rule).expect_err(rule).to_string();
        assert!(text.contains(message), "{rule}: {text}");
    }
}

#[test]
fn estimates_know_the_bounds_of_the_schema() {
    let ty = declared();
    let env = Env::crd_rules(&ty, OldSelf::Optional);
    for (rule, min, max) in [
        ("self.min <= self.max", 5, 5),
        // Ten characters are up to forty bytes.
        ("self.name.startsWith('abc')", 3, 3),
        ("self.name == 'abc'", 3, 3),
        ("self.name.matches('^a+$')", 3, 7),
        ("self.tags.all(t, t.size() < 5)", 3, 27),
        ("self.labels.all(k, self.labels[k] == 'v')", 3, 27),
        ("oldSelf.hasValue()", 2, 2),
    ] {
        let program = env.compile(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
        let estimate = env.estimate(&program);
        assert_eq!((estimate.min, estimate.max), (min, max), "{rule}");
    }
    let unbounded = env
        .compile("self.env.all(a, self.env.all(b, a.name == b.name))")
        .expect("it compiles");
    assert!(env.estimate(&unbounded).max > 10_000_000);
    assert!(unbounded.uses("self") && !unbounded.uses("oldSelf"));
    assert_eq!(unbounded.result_type(), &crate::Type::Bool);
}

#[test]
fn old_values_may_be_optional() {
    let ty = declared();
    let env = Env::crd_rules(&ty, OldSelf::Optional);
    let program = env
        .compile("oldSelf.optMap(o, o.min <= self.min).orValue(true)")
        .expect("it compiles");
    let (new, old) = (json!({"min": 1}), json!({"min": 2}));
    for (old, expected) in [(None, "true"), (Some(&old), "false"), (Some(&new), "true")] {
        let old = old.map(|old| Val::from_json(old, &ty).expect("an object"));
        let bindings = Bindings::new()
            .with("self", Val::from_json(&new, &ty).expect("an object"))
            .with("oldSelf", Val::optional(old));
        let result = program.eval(&bindings, &mut Budget::new(Budget::OBJECT));
        assert_eq!(result.map(|value| value.to_string()), Ok(expected.into()));
    }
}
