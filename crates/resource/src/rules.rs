//! `x-kubernetes-validations`: the rules in CEL of a custom resource's schema, checked when the definition is written and run
//! when an object is.
//!
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>

use crate::field::{Cause, Errors, Path};
use crate::json::{items, text};
use knarr_cel::{Bindings, Budget, DeclType, Env, EvalError, OldSelf, Program, Val};
use serde_json::{Value, json};
use std::sync::Arc;

/// What one rule may cost by its estimate, and all rules of a schema together.
const RULE_COST: u64 = 10_000_000;
const SCHEMA_COST: u64 = 100_000_000;
/// What fits into a request bounds how often a rule can run where nothing else does.
const REQUEST: u64 = 3 << 20;
/// Of a schema that costs too much, so many rules are named.
const NAMED: usize = 4;
const MESSAGE_LENGTH: usize = 5 << 10;
/// How Go prints the path of the object itself.
const ROOT: &str = "<nil>";

/// The rules of a schema, compiled.
#[derive(Debug)]
pub(crate) struct Rules(Node);

/// A schema that has rules, or one below which there are some.
#[derive(Debug, Default)]
struct Node {
    decl: Option<Arc<DeclType>>,
    kind: String,
    rules: Vec<Rule>,
    /// Rules of `allOf`, about the same value.
    all_of: Vec<Node>,
    fields: Vec<(String, Node)>,
    values: Option<Box<Node>>,
    items: Option<Box<Node>>,
    /// By which items of the old and the new list belong together; none if nothing tells.
    keys: Option<Vec<String>>,
}

#[derive(Debug)]
struct Rule {
    text: String,
    message: String,
    message_program: Option<Program>,
    cause: Cause,
    field_path: String,
    program: Program,
    /// It compares with the old value.
    transition: bool,
    optional_old: bool,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.rules.is_empty()
            && self.all_of.is_empty()
            && self.fields.is_empty()
            && self.values.is_none()
            && self.items.is_none()
    }
}

/// What is around a schema.
#[derive(Clone)]
struct Place {
    path: Path,
    root: bool,
    /// How many values of this schema an object can have; none if nothing bounds it.
    cardinality: Option<u64>,
    /// The list by which old and new values cannot be told to belong together.
    uncorrelatable: Option<Path>,
}

/// Costs of rules, to find the expensive ones.
#[derive(Default)]
struct Costs(Vec<(u64, Path)>);

/// Complains of rules that do not compile, or cost too much. `old` has the schema before the change: what was in it keeps
/// its cost.
pub(crate) fn check(schema: &Value, path: &Path, unchanged: bool, errors: &mut Errors) {
    let mut costs = Costs::default();
    let place = Place {
        path: path.clone(),
        root: true,
        cardinality: Some(1),
        uncorrelatable: None,
    };
    compile(schema, &place, unchanged, &mut costs, errors);
    let total = costs.0.iter().fold(0_u64, |sum, (cost, _)| sum.saturating_add(*cost));
    if total > SCHEMA_COST && !unchanged {
        costs.0.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, at) in costs.0.iter().take(NAMED) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.forbidden(at, detail);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(path, too_expensive(what, total, SCHEMA_COST));
    }
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

impl Rules {
    /// The rules of a schema that has been checked; none if there are none.
    pub(crate) fn of(schema: &Value) -> Option<Self> {
        let place = Place {
            path: Path::default(),
            root: true,
            cardinality: Some(1),
            uncorrelatable: None,
        };
        let node = compile(schema, &place, true, &mut Costs::default(), &mut Errors::new());
        (!node.is_empty()).then_some(Self(node))
    }

    /// Runs the rules on an object.
    pub(crate) fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let mut run = Run {
            budget: Budget::new(Budget::OBJECT),
            errors,
            ended: false,
        };
        run.node(&self.0, object, old, &Path::default());
    }
}

/// The rules of a schema and of what is below it.
fn compile(schema: &Value, place: &Place, unchanged: bool, costs: &mut Costs, errors: &mut Errors) -> Node {
    let mut node = Node {
        kind: text(schema, "type").to_owned(),
        ..Node::default()
    };
    let resource = place.root || schema["x-kubernetes-embedded-resource"] == true;
    let own = items(&schema["x-kubernetes-validations"]);
    if !own.is_empty() {
        let decl = DeclType::from_schema(schema, resource).map(|decl| Arc::new(decl.named("selfType")));
        for (index, rule) in own.iter().enumerate() {
            let at = place.path.child("x-kubernetes-validations").index(index);
            if let Some(decl) = &decl {
                let compiled = rule_of(schema, rule, decl, &at, place, unchanged, costs, errors);
                node.rules.extend(compiled);
            }
        }
        node.decl = decl;
    }
    let below = |path: Path| Place {
        path,
        root: false,
        ..place.clone()
    };
    for (index, inner) in items(&schema["allOf"]).iter().enumerate() {
        let at = below(place.path.child("allOf").index(index));
        let mut merged = schema.clone();
        merged["x-kubernetes-validations"] = inner["x-kubernetes-validations"].clone();
        merged["allOf"] = Value::Null;
        if !items(&inner["x-kubernetes-validations"]).is_empty() {
            let inner = compile(&merged, &Place { root: resource, ..at }, unchanged, costs, errors);
            node.all_of.push(Node {
                fields: Vec::new(),
                values: None,
                items: None,
                ..inner
            });
        }
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let at = below(place.path.child("properties").key(name));
        let inner = compile(field, &at, unchanged, costs, errors);
        if !inner.is_empty() {
            node.fields.push((name.clone(), inner));
        }
    }
    let bounded = |key: &str| Some(place.cardinality?.saturating_mul(schema[key].as_u64()?));
    if schema["additionalProperties"].is_object() {
        let at = Place {
            cardinality: bounded("maxProperties"),
            ..below(place.path.child("additionalProperties"))
        };
        let inner = compile(&schema["additionalProperties"], &at, unchanged, costs, errors);
        node.values = (!inner.is_empty()).then(|| Box::new(inner));
    }
    if schema["items"].is_object() {
        let keyed = schema["x-kubernetes-list-type"] == "map";
        let at = Place {
            cardinality: bounded("maxItems"),
            uncorrelatable: match (&place.uncorrelatable, keyed) {
                (Some(path), _) => Some(path.clone()),
                (None, true) => None,
                (None, false) => Some(place.path.clone()),
            },
            ..below(place.path.child("items"))
        };
        let inner = compile(&schema["items"], &at, unchanged, costs, errors);
        node.items = (!inner.is_empty()).then(|| Box::new(inner));
        node.keys = keyed.then(|| {
            let keys = items(&schema["x-kubernetes-list-map-keys"]);
            keys.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        });
    }
    node
}

#[expect(clippy::too_many_arguments, reason = "all of it is about one rule in one place")]
fn rule_of(
    schema: &Value,
    rule: &Value,
    decl: &Arc<DeclType>,
    at: &Path,
    place: &Place,
    unchanged: bool,
    costs: &mut Costs,
    errors: &mut Errors,
) -> Option<Rule> {
    let (source, message) = (text(rule, "rule"), text(rule, "message"));
    let shown = json!({
        "Rule": source, "Message": message, "MessageExpression": text(rule, "messageExpression"),
        "Reason": rule.get("reason").cloned().unwrap_or_default(), "FieldPath": text(rule, "fieldPath"),
        "OptionalOldSelf": rule.get("optionalOldSelf").cloned().unwrap_or_default(),
    });
    let at_rule = at.child("rule");
    if source.trim().is_empty() {
        errors.required(&at_rule, "rule is not specified");
        return None;
    }
    if message.contains(['\n', '\r']) {
        errors.invalid(&at.child("message"), message, "must not contain line breaks");
    }
    let said = rule.get("message").is_some();
    if said && message.trim().is_empty() {
        errors.invalid(&at.child("message"), message, "message must be non-empty if specified");
    }
    let asked = rule.get("messageExpression").is_some();
    if asked && text(rule, "messageExpression").trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.required(&at.child("messageExpression"), detail);
    }
    if source.trim().contains(['\n', '\r']) && message.is_empty() && !asked {
        let detail = "message must be specified if rule contains line breaks";
        errors.required(&at.child("message"), detail);
    }
    let cause = match text(rule, "reason") {
        "" | "FieldValueInvalid" => Cause::Invalid,
        "FieldValueForbidden" => Cause::Forbidden,
        "FieldValueRequired" => Cause::Required,
        "FieldValueDuplicate" => Cause::Duplicate,
        other => {
            let reasons = [
                "FieldValueDuplicate",
                "FieldValueForbidden",
                "FieldValueInvalid",
                "FieldValueRequired",
            ];
            errors.not_supported(&at.child("reason"), other, &reasons);
            Cause::Invalid
        }
    };
    let field_path = text(rule, "fieldPath");
    let field_path = match field_path.is_empty() || leads_somewhere(schema, field_path) {
        true => field_path.to_owned(),
        false => {
            errors.invalid(&at.child("fieldPath"), field_path, "must be a valid path");
            String::new()
        }
    };
    let optional_old = rule["optionalOldSelf"] == true;
    let env = Env::crd_rules(
        decl,
        match optional_old {
            true => OldSelf::Optional,
            false => OldSelf::Required,
        },
    );
    let program = match env.compile(source) {
        Ok(program) if program.result_type().to_string() != "bool" => {
            errors.invalid(&at_rule, shown, "cel expression must evaluate to a bool");
            return None;
        }
        Ok(program) => program,
        Err(error) => {
            errors.invalid(&at_rule, shown, error.to_string());
            return None;
        }
    };
    let transition = program.uses("oldSelf");
    if let Some(list) = place.uncorrelatable.as_ref().filter(|_| transition) {
        let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
        errors.invalid(&at_rule, source, detail);
    }
    if !rule["optionalOldSelf"].is_null() && !transition {
        let detail = "may not be set if oldSelf is not used in rule";
        errors.invalid(&at.child("optionalOldSelf"), optional_old, detail);
    }
    let times = place.cardinality.unwrap_or(REQUEST / (decl.min_size() + 1));
    let cost = env.estimate(&program).max.saturating_mul(times);
    if cost > RULE_COST && !unchanged {
        errors.forbidden(&at_rule, too_expensive("estimated rule cost", cost, RULE_COST));
    }
    costs.0.push((cost, at_rule));
    let message_program = match asked.then(|| env.compile(text(rule, "messageExpression"))) {
        None => None,
        Some(Ok(program)) if program.result_type().to_string() == "string" => {
            let cost = env.estimate(&program).max;
            let at = at.child("messageExpression");
            if cost > RULE_COST && !unchanged {
                errors.forbidden(&at, too_expensive("estimated messageExpression cost", cost, RULE_COST));
            }
            costs.0.push((cost, at));
            Some(program)
        }
        Some(Ok(_)) => {
            let detail = "messageExpression must evaluate to a string";
            errors.invalid(&at.child("messageExpression"), shown, detail);
            None
        }
        Some(Err(error)) => {
            let detail = format!("messageExpression {error}");
            errors.invalid(&at.child("messageExpression"), shown, detail);
            None
        }
    };
    Some(Rule {
        text: source.trim().to_owned(),
        message: message.trim().to_owned(),
        message_program,
        cause,
        field_path,
        program,
        transition,
        optional_old,
    })
}

/// Whether `.a.b['c']` names a field of the schema.
fn leads_somewhere(schema: &Value, path: &str) -> bool {
    let Some(steps) = steps(path) else { return false };
    let found = steps.iter().try_fold(schema, |schema, step| {
        let named = schema["properties"].get(step.as_str());
        named.or_else(|| Some(&schema["additionalProperties"]).filter(|values| values.is_object()))
    });
    !steps.is_empty() && found.is_some()
}

/// The names in a path of fields.
fn steps(path: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix("['") {
            let (name, after) = inner.split_once("']")?;
            found.push(name.to_owned());
            rest = after;
        } else {
            let inner = rest.strip_prefix('.')?;
            let end = inner.find(['.', '[']).unwrap_or(inner.len());
            found.push(inner[..end].to_owned());
            rest = &inner[end..];
        }
    }
    found.iter().all(|name| !name.is_empty()).then_some(found)
}

/// One validation of one object.
struct Run<'e> {
    budget: Budget,
    errors: &'e mut Errors,
    /// Nothing more can be run.
    ended: bool,
}

impl Run<'_> {
    fn node(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &Path) {
        if value.is_null() || self.ended {
            return;
        }
        for rule in &node.rules {
            if let Some(decl) = &node.decl
                && !self.ended
            {
                self.rule(node, rule, decl, value, old, path);
            }
        }
        for inner in &node.all_of {
            self.node(inner, value, old, path);
        }
        for (name, field) in &node.fields {
            if let Some(inner) = value.get(name) {
                let old = old.and_then(|old| old.get(name));
                self.node(field, inner, old, &path.child(name));
            }
        }
        match value {
            Value::Object(map) => {
                if let Some(values) = &node.values {
                    for (name, inner) in map {
                        let old = old.and_then(|old| old.get(name));
                        self.node(values, inner, old, &path.key(name));
                    }
                }
            }
            Value::Array(list) => {
                if let Some(items) = &node.items {
                    for (index, item) in list.iter().enumerate() {
                        let same = |other: &&Value| {
                            let keys = node.keys.as_deref().unwrap_or_default();
                            !keys.is_empty() && keys.iter().all(|key| other[key.as_str()] == item[key.as_str()])
                        };
                        let old = old.and_then(Value::as_array).and_then(|old| old.iter().find(same));
                        self.node(items, item, old, &path.index(index));
                    }
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, node: &Node, rule: &Rule, decl: &DeclType, value: &Value, old: Option<&Value>, path: &Path) {
        let old = old.filter(|old| !old.is_null());
        // A transition needs something to come from; what has not changed is forgiven if no transition is asked for.
        if rule.transition && !rule.optional_old && old.is_none() {
            return;
        }
        if !rule.transition && old.is_some_and(|old| crate::json::equal(old, value)) {
            return;
        }
        let at = match path.as_str() {
            "" => Path::new(ROOT),
            _ => path.clone(),
        };
        let told = match rule.message.as_str() {
            "" => &rule.text,
            message => message,
        };
        let bind = || -> Result<Bindings<'_>, EvalError> {
            let mut bindings = Bindings::new().with("self", Val::from_json(value, decl)?);
            if rule.transition {
                let old = old.map(|old| Val::from_json(old, decl)).transpose()?;
                bindings = match (rule.optional_old, old) {
                    (true, old) => bindings.with("oldSelf", Val::optional(old)),
                    (false, Some(old)) => bindings.with("oldSelf", old),
                    (false, None) => bindings,
                };
            }
            Ok(bindings)
        };
        let outcome = bind().and_then(|bindings| Ok((rule.program.eval(&bindings, &mut self.budget)?, bindings)));
        let kind = if node.kind.is_empty() { "object" } else { &node.kind };
        match outcome {
            Ok((Val::Bool(true), _)) => {}
            Ok((_, bindings)) => {
                let message = self.message(rule, &bindings);
                let mut at = match (rule.field_path.is_empty(), path.as_str()) {
                    (true, _) => at,
                    (false, _) => path.clone(),
                };
                for step in steps(&rule.field_path).unwrap_or_default() {
                    at = at.child(&step);
                }
                let (cause, shown) = match (rule.cause, value) {
                    (Cause::Invalid, Value::Object(_) | Value::Array(_)) => (Cause::Unshown, Value::Null),
                    (cause, value) => (cause, value.clone()),
                };
                self.errors.push(&at, cause, shown, message);
            }
            Err(EvalError::Failed(why)) => {
                // Go tells more of what found no function.
                let detail = match why.starts_with("no such overload") {
                    true => format!(
                        "'no such overload': call arguments did not match a supported operator, function or macro signature for rule: {told}"
                    ),
                    false => format!("{why} evaluating rule: {told}"),
                };
                self.errors.push(&at, Cause::Invalid, kind, detail);
            }
            Err(EvalError::CallCost) => {
                let detail = format!(
                    "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {told}"
                );
                self.errors.push(&at, Cause::Invalid, kind, detail);
                self.ended = true;
            }
            Err(EvalError::Budget) => self.exhausted(&at),
        }
    }

    fn exhausted(&mut self, at: &Path) {
        let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
        self.errors.push(at, Cause::Unshown, Value::Null, detail);
        self.ended = true;
    }

    /// What is said of a rule that does not hold.
    fn message(&mut self, rule: &Rule, bindings: &Bindings<'_>) -> String {
        let computed = rule.message_program.as_ref().and_then(|program| {
            let value = program.eval(bindings, &mut self.budget).ok()?;
            let text = value.as_str()?.trim().to_owned();
            let good = !text.is_empty() && text.len() <= MESSAGE_LENGTH && !text.contains(['\n', '\r']);
            good.then_some(text)
        });
        match (computed, rule.message.as_str()) {
            (Some(text), _) => text,
            (None, "") => format!("failed rule: {}", rule.text),
            (None, message) => message.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(errors: Errors) -> Vec<String> {
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    fn checked(schema: Value) -> Vec<String> {
        let mut errors = Errors::new();
        check(&schema, &Path::new("s"), false, &mut errors);
        lines(errors)
    }

    fn run(schema: Value, object: Value, old: Option<Value>) -> Vec<String> {
        let mut errors = Errors::new();
        let rules = Rules::of(&schema).expect("there are rules");
        rules.validate(&object, old.as_ref(), &mut errors);
        lines(errors)
    }

    fn spec(rules: Value) -> Value {
        json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-validations": rules,
            "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}}}}})
    }

    #[test]
    fn rules_that_do_not_compile_are_told() {
        let found = checked(spec(json!([{"rule": "self.nope > 1"}])));
        assert_eq!(
            found,
            [
                r#"s.properties[spec].x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.nope \u003e 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:5: undefined field 'nope'
 | self.nope > 1
 | ....^"#
            ]
        );
        for (rule, expected) in [
            (json!({"rule": ""}), "rule: Required value: rule is not specified"),
            (
                json!({"rule": "true", "reason": "Nope"}),
                r#"reason: Unsupported value: "Nope": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired""#,
            ),
            (
                json!({"rule": "true", "fieldPath": ".nope"}),
                r#"fieldPath: Invalid value: ".nope": must be a valid path"#,
            ),
            (
                json!({"rule": "true", "optionalOldSelf": true}),
                "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
            ),
        ] {
            let expected = format!("s.properties[spec].x-kubernetes-validations[0].{expected}");
            assert_eq!(checked(spec(json!([rule]))), [expected]);
        }
    }

    #[test]
    fn expensive_rules_are_refused() {
        let schema = json!({"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]}}});
        let found = checked(schema);
        assert_eq!(
            found[0],
            "s.properties[list].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
        );
    }

    #[test]
    fn old_and_new_must_belong_together() {
        let schema = json!({"type": "object", "properties": {"list": {"type": "array", "maxItems": 5, "items": {
            "type": "object", "properties": {"a": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.a >= oldSelf.a"}]}}}});
        assert_eq!(
            checked(schema),
            [
                r#"s.properties[list].items.x-kubernetes-validations[0].rule: Invalid value: "self.a >= oldSelf.a": oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[list]"#
            ]
        );
    }

    #[test]
    fn objects_are_held_to_the_rules() {
        let rule = json!([{"rule": "self.min <= self.max"}]);
        let object = json!({"spec": {"min": 3, "max": 2}});
        assert_eq!(
            run(spec(rule.clone()), object.clone(), None),
            ["spec: Invalid value: failed rule: self.min <= self.max"]
        );
        assert_eq!(
            run(spec(rule.clone()), object.clone(), Some(object)),
            Vec::<String>::new()
        );
        assert_eq!(
            run(spec(rule), json!({"spec": {"min": 3}}), None),
            [r#"spec: Invalid value: "object": no such key: max evaluating rule: self.min <= self.max"#]
        );
        let told = json!([{"rule": "self.min <= self.max", "messageExpression": "'min is ' + string(self.min)", "fieldPath": ".min", "reason": "FieldValueForbidden"}]);
        assert_eq!(
            run(spec(told), json!({"spec": {"min": 3, "max": 2}}), None),
            ["spec.min: Forbidden: min is 3"]
        );
        let transition = spec(json!([{"rule": "self.min >= oldSelf.min", "message": "must not fall"}]));
        let (low, high) = (json!({"spec": {"min": 1}}), json!({"spec": {"min": 2}}));
        assert_eq!(run(transition.clone(), low.clone(), None), Vec::<String>::new());
        assert_eq!(
            run(transition.clone(), low.clone(), Some(high.clone())),
            ["spec: Invalid value: must not fall"]
        );
        assert_eq!(run(transition, high, Some(low)), Vec::<String>::new());
    }
}
