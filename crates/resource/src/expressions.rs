//! The CEL expressions of webhooks and admission policies, compiled: once, when they are written and when they are read.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>,
//! <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>.

use crate::field::{Errors, Path};
use crate::json::{absent, items, text};
use crate::resource::ResourceInfo;
use knarr_cel::{Activation, Budget, DeclType, Env, ListKind, Program, Type, Val};
use knarr_schema::{Schema, Shape};
use serde_json::{Value, json};
use std::sync::Arc;

/// Kinds that a policy is checked against, in the order of their names.
const MOST_TYPES: usize = 10;
/// The parts of custom resources have no names, and cannot contain themselves.
const UNNAMED: &str = "io.k8s.";

/// A text that is an expression, or is not.
#[derive(Debug)]
pub struct Expression {
    text: String,
    program: Result<Program, String>,
}

impl Expression {
    /// Compiles, for one of these types; none are any.
    fn new(env: &Env, text: &str, wanted: &[&str]) -> Self {
        let program = env.compile(text).map_err(|error| error.to_string());
        let program = program.and_then(|program| {
            let given = shown(program.result_type());
            match wanted {
                [] => Ok(program),
                wanted if wanted.contains(&given.as_str()) => Ok(program),
                [one] => Err(format!("must evaluate to {one} but got {given}")),
                several => Err(format!(
                    "must evaluate to one of [{}] but got {given}",
                    several.join(" ")
                )),
            }
        });
        Self {
            text: text.to_owned(),
            program,
        }
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value of the expression.
    ///
    /// # Errors
    /// It does not compile, or has no value; in the words of Kubernetes.
    pub fn eval<'a>(&self, activation: &dyn Activation<'a>, budget: &mut Budget) -> Result<Val<'a>, String> {
        let program = self.program.as_ref().map_err(Clone::clone)?;
        program
            .eval(activation, budget)
            .map_err(|error| format!("expression '{}' resulted in error: {error}", self.text))
    }

    /// The program, if it compiles.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_ref().ok()
    }

    fn check(&self, path: &Path, errors: &mut Errors) {
        // What is not there is told elsewhere.
        if let (Err(why), false) = (&self.program, self.text.trim().is_empty()) {
            errors.invalid(path, self.text.as_str(), why.as_str());
        }
    }
}

/// A type as cel-go names it.
fn shown(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".into(),
        other => other.to_string(),
    }
}

/// One validation of a policy.
#[derive(Debug)]
pub struct Validation {
    /// What must hold.
    pub expression: Expression,
    /// What makes the message if it does not.
    pub message: Option<Expression>,
}

/// The expressions of a policy, or those of a webhook.
#[derive(Debug, Default)]
pub struct Expressions {
    /// Whether `params` is known.
    pub params: bool,
    /// `matchConditions`.
    pub conditions: Vec<Expression>,
    /// By their names, `variables.` included. Each sees those before it.
    pub variables: Vec<(String, Expression)>,
    /// `validations`.
    pub validations: Vec<Validation>,
    /// `auditAnnotations`.
    pub annotations: Vec<Expression>,
    /// `mutations`, of either sort.
    pub mutations: Vec<Expression>,
}

impl Expressions {
    /// Of a webhook: its match conditions.
    pub fn of_webhook(hook: &Value) -> Self {
        Self {
            conditions: conditions(&Env::admission(false, true), hook),
            ..Self::default()
        }
    }

    /// Of the `spec` of a policy of either sort.
    pub fn of_policy(spec: &Value) -> Self {
        Self::of_typed_policy(spec, |env| env)
    }

    /// Of the `spec` of a policy, where more is known of its variables than the policy says.
    fn of_typed_policy(spec: &Value, typed: impl Fn(Env) -> Env) -> Self {
        let params = !absent(spec, "paramKind");
        let mut env = typed(Env::admission(params, true));
        // Messages may not depend on what the user may do.
        let mut of_messages = typed(Env::admission(params, false));
        let conditions = conditions(&env, spec);
        let mut variables = Vec::new();
        for variable in items(&spec["variables"]) {
            let name = format!("variables.{}", text(variable, "name"));
            let expression = Expression::new(&env, text(variable, "expression"), &[]);
            let ty = expression
                .program()
                .map_or(Type::Dyn, |program| program.result_type().clone());
            env = env.with_type(&name, ty.clone());
            of_messages = of_messages.with_type(&name, ty);
            variables.push((name, expression));
        }
        let validations = items(&spec["validations"]).iter().map(|validation| {
            let message = text(validation, "messageExpression");
            Validation {
                expression: Expression::new(&env, text(validation, "expression"), &["bool"]),
                message: (!message.trim().is_empty()).then(|| Expression::new(&of_messages, message, &["string"])),
            }
        });
        let annotations = items(&spec["auditAnnotations"]).iter().map(|annotation| {
            let value = text(annotation, "valueExpression").trim();
            Expression::new(&env, value, &["string", "null_type"])
        });
        let patches = env.clone().with_patches();
        let mutations = items(&spec["mutations"]).iter().map(|mutation| {
            let (key, ty) = match text(mutation, "patchType") {
                "JSONPatch" => ("jsonPatch", "list(JSONPatch)"),
                _ => ("applyConfiguration", "Object"),
            };
            Expression::new(&patches, text(&mutation[key], "expression").trim(), &[ty])
        });
        Self {
            params,
            conditions,
            variables,
            validations: validations.collect(),
            annotations: annotations.collect(),
            mutations: mutations.collect(),
        }
    }

    /// Tells of every expression that does not compile. `path` is that of the webhook or of the `spec`.
    pub(crate) fn check(&self, path: &Path, owner: &Value, errors: &mut Errors) {
        let at = |list: &str, index: usize, key: &str| path.child(list).index(index).child(key);
        for (index, condition) in self.conditions.iter().enumerate() {
            condition.check(&at("matchConditions", index, "expression"), errors);
        }
        for (index, (_, variable)) in self.variables.iter().enumerate() {
            variable.check(&at("variables", index, "expression"), errors);
        }
        for (index, validation) in self.validations.iter().enumerate() {
            validation
                .expression
                .check(&at("validations", index, "expression"), errors);
            if let Some(message) = &validation.message {
                message.check(&at("validations", index, "messageExpression"), errors);
            }
        }
        for (index, annotation) in self.annotations.iter().enumerate() {
            annotation.check(&at("auditAnnotations", index, "valueExpression"), errors);
        }
        for (index, mutation) in self.mutations.iter().enumerate() {
            let key = match text(&owner["mutations"][index], "patchType") {
                "JSONPatch" => "jsonPatch",
                _ => "applyConfiguration",
            };
            mutation.check(&at("mutations", index, key).child("expression"), errors);
        }
    }
}

/// What the expressions of a ValidatingAdmissionPolicy get wrong about the kinds it matches: `status.typeChecking`.
/// `resources` gives those of a rule's group, version and plural; `params` is the kind of the parameters, if it is served.
pub fn type_check(
    spec: &Value,
    params: Option<&ResourceInfo>,
    matched: impl Fn(&str, &str, &str) -> Option<Arc<ResourceInfo>>,
) -> Value {
    let mut kinds: Vec<Arc<ResourceInfo>> = Vec::new();
    for rule in items(&spec["matchConstraints"]["resourceRules"]) {
        let all = |key: &'static str| items(&rule[key]).iter().filter_map(Value::as_str);
        for group in all("apiGroups") {
            for version in all("apiVersions") {
                // A wildcard or a subresource is no resource of this name.
                let found = all("resources").filter_map(|plural| matched(group, version, plural));
                kinds.extend(found);
            }
        }
    }
    kinds.sort_by(|a, b| (&a.group, &a.version, &a.kind).cmp(&(&b.group, &b.version, &b.kind)));
    kinds.dedup_by(|a, b| (&a.group, &a.version, &a.kind) == (&b.group, &b.version, &b.kind));
    kinds.truncate(MOST_TYPES);
    let params = params.map(declared);
    let mut warnings: Vec<(String, Vec<String>)> = Vec::new();
    for kind in kinds {
        let object = declared(&kind);
        let typed = |mut env: Env| {
            for name in ["object", "oldObject"] {
                env = env.with_variable(name, object.clone());
            }
            match &params {
                Some(params) => env.with_variable("params", params.clone()),
                None => env,
            }
        };
        let mut errors = Errors::new();
        Expressions::of_typed_policy(spec, typed).check(&Path::new("spec"), spec, &mut errors);
        for error in errors.into_vec() {
            let (field, why) = (error.path.to_string(), error.detail);
            let why = why.strip_prefix("compilation failed: ").unwrap_or(&why);
            let warning = format!("{}, Kind={}: {why}\n", kind.api_version(), kind.kind);
            match warnings.iter_mut().find(|(known, _)| *known == field) {
                Some((_, of_field)) => of_field.push(warning),
                None => warnings.push((field, vec![warning])),
            }
        }
    }
    let warnings = warnings.into_iter();
    let warnings: Vec<Value> = warnings
        .map(|(field, warnings)| json!({"fieldRef": field, "warning": warnings.join("\n")}))
        .collect();
    match warnings.is_empty() {
        true => json!({}),
        false => json!({"expressionWarnings": warnings}),
    }
}

/// The declared type of the objects of a resource.
fn declared(resource: &ResourceInfo) -> Arc<DeclType> {
    Arc::new(declare(&resource.schema, &mut Vec::new()).named(&resource.kind))
}

/// `within` are the types around this one: what contains itself is not looked into again.
fn declare(schema: &Schema, within: &mut Vec<String>) -> DeclType {
    let name = schema.openapi_name();
    if schema.is_open() || within.contains(&name) && name != UNNAMED {
        return DeclType::dynamic();
    }
    within.push(name);
    let fields: Vec<(&str, DeclType)> = schema
        .fields()
        .map(|(name, shape)| (name, declare_shape(&shape, within)))
        .collect();
    within.pop();
    DeclType::object("object", fields)
}

fn declare_shape(shape: &Shape<'_>, within: &mut Vec<String>) -> DeclType {
    match shape {
        Shape::Any => DeclType::dynamic(),
        Shape::String => DeclType::string(None),
        Shape::Bytes => DeclType::bytes(),
        Shape::Time => DeclType::date_time(),
        Shape::IntOrString => DeclType::int_or_string(None),
        Shape::Integer => DeclType::int(),
        Shape::Number => DeclType::double(),
        Shape::Bool => DeclType::bool(),
        Shape::Object(schema) => declare(schema, within),
        Shape::List(item) => DeclType::list(declare_shape(item, within), None, ListKind::Atomic),
        Shape::Map(value) => DeclType::map(declare_shape(value, within), None),
    }
}

fn conditions(env: &Env, owner: &Value) -> Vec<Expression> {
    items(&owner["matchConditions"])
        .iter()
        .map(|condition| Expression::new(env, text(condition, "expression").trim(), &["bool"]))
        .collect()
}
