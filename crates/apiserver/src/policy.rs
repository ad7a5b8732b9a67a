//! Expressions about requests: `matchConditions` of webhooks, and ValidatingAdmissionPolicy.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>.

use std::cell::RefCell;
use std::sync::Arc;

use knarr_cel::{Activation, Bindings, Budget, Decision, Env, EvalError, Program, Question, Val};
use knarr_resource::Status;
use knarr_resource::admission::{Attributes, Notes, UserInfo};
use knarr_resource::selector::LabelSelector;
use serde_json::{Value, json};

use crate::auth::authorizer::Authorizer;
use crate::auth::rbac;
use crate::object::name_of;
use crate::server::Server;
use crate::webhook::matching::{Criteria, Matched};
use crate::webhook::{review, shown};

const GROUP: &str = "admissionregistration.k8s.io";
/// The longest message that an expression may make.
const LONGEST_MESSAGE: usize = 5 * 1024;

/// What expressions look at.
pub(crate) struct Facts {
    request: Value,
    object: Value,
    old: Value,
    namespace: Value,
    authorizer: Arc<dyn knarr_cel::Authorizer>,
    about: Question,
}

/// Asks on behalf of a user.
struct Asking {
    authorizer: Authorizer,
    user: UserInfo,
}

impl knarr_cel::Authorizer for Asking {
    fn authorize(&self, question: &Question) -> Decision {
        let account = question.service_account.as_ref();
        let account = account.map(|(namespace, name)| {
            let of_namespace = format!("system:serviceaccounts:{namespace}");
            let groups = ["system:serviceaccounts", of_namespace.as_str()];
            UserInfo::authenticated(&format!("system:serviceaccount:{namespace}:{name}"), &groups)
        });
        let asked = rbac::Attributes {
            verb: &question.verb,
            group: &question.group,
            resource: &question.resource,
            subresource: &question.subresource,
            namespace: &question.namespace,
            name: &question.name,
            path: question.path.as_deref(),
            ..rbac::Attributes::default()
        };
        let user = account.as_ref().unwrap_or(&self.user);
        let (allowed, reason) = match self.authorizer.authorize(user, &asked) {
            Ok(reason) => (true, reason),
            Err(reason) => (false, reason),
        };
        Decision {
            allowed,
            reason,
            error: None,
        }
    }
}

impl Facts {
    pub(crate) fn new(
        server: &Server,
        request: &Attributes<'_>,
        matched: &Matched,
        object: &Value,
        old: Option<&Value>,
    ) -> Self {
        let mut about = review("", request, matched, &Value::Null, None);
        if let Some(about) = about.as_object_mut() {
            for key in ["uid", "object", "oldObject"] {
                about.shift_remove(key);
            }
        }
        let in_namespace = !request.namespace.is_empty() && !request.is_resource("", "namespaces");
        let namespace = in_namespace
            .then(|| server.find("", "namespaces", "", request.namespace))
            .flatten();
        let mut namespace = namespace.unwrap_or_default();
        if let Some(meta) = namespace["metadata"].as_object_mut() {
            meta.shift_remove("managedFields");
            meta.shift_remove("ownerReferences");
        }
        Self {
            request: about,
            object: shown(request, &matched.resource, object),
            old: old.map_or(Value::Null, |old| shown(request, &matched.resource, old)),
            namespace,
            authorizer: Arc::new(Asking {
                authorizer: Authorizer::new(server),
                user: request.user.clone(),
            }),
            about: Question {
                group: request.resource.group.clone(),
                resource: request.resource.plural.clone(),
                subresource: request.subresource.to_owned(),
                namespace: request.namespace.to_owned(),
                name: request.name.to_owned(),
                ..Question::default()
            },
        }
    }

    fn bindings<'a>(&'a self, params: Option<&'a Value>) -> Result<Bindings<'a>, EvalError> {
        let namespace = match &self.namespace {
            Value::Null => Val::Null,
            namespace => Val::from_json(namespace, Env::namespace_type())?,
        };
        let mut bindings = Bindings::new()
            .with("object", Val::dynamic(&self.object))
            .with("oldObject", Val::dynamic(&self.old))
            .with("request", Val::from_json(&self.request, Env::request_type())?)
            .with("namespaceObject", namespace)
            .with("authorizer", Val::authorizer(self.authorizer.clone()))
            .with(
                "authorizer.requestResource",
                Val::resource_check(self.authorizer.clone(), self.about.clone()),
            );
        if let Some(params) = params {
            bindings = bindings.with("params", Val::dynamic(params));
        }
        Ok(bindings)
    }

    /// Whether all match conditions hold: one that is false decides, else one that cannot be evaluated does.
    pub(crate) fn meets(&self, conditions: &Value, params: Option<&Value>) -> Result<bool, String> {
        let conditions = conditions.as_array().map(Vec::as_slice).unwrap_or_default();
        if conditions.is_empty() {
            return Ok(true);
        }
        let env = Env::admission(params.is_some(), true);
        let bindings = self.bindings(params).map_err(|error| error.to_string())?;
        let mut budget = Budget::new(Budget::MATCH_CONDITIONS);
        let mut failed = None;
        for condition in conditions {
            let expression = condition["expression"].as_str().unwrap_or_default();
            match evaluate(&env, expression, &bindings, &mut budget) {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => return Ok(false),
                Ok(_) => _ = failed.get_or_insert(format!("expression '{expression}' is not a bool")),
                Err(why) => _ = failed.get_or_insert(why),
            }
        }
        failed.map_or(Ok(true), Err)
    }
}

fn evaluate<'a>(
    env: &Env,
    expression: &str,
    activation: &dyn Activation<'a>,
    budget: &mut Budget,
) -> Result<Val<'a>, String> {
    let program = env.compile(expression).map_err(|error| error.to_string())?;
    program
        .eval(activation, budget)
        .map_err(|error| format!("expression '{expression}' resulted in error: {error}"))
}

/// One variable of a policy, evaluated when an expression first looks at it.
struct Variable<'a> {
    name: String,
    program: Program,
    value: RefCell<Option<Result<Val<'a>, EvalError>>>,
}

/// What the expressions of a policy see.
struct Scope<'a, 'v> {
    bindings: Bindings<'a>,
    variables: &'v [Variable<'a>],
    /// What variables may still cost. The expression that looks first pays.
    budget: RefCell<Budget>,
}

impl<'a> Activation<'a> for Scope<'a, '_> {
    fn resolve(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        let Some(variable) = self.variables.iter().find(|variable| variable.name == name) else {
            return self.bindings.resolve(name);
        };
        if let Some(known) = &*variable.value.borrow() {
            return Some(known.clone());
        }
        // A variable sees those before it only, so this ends.
        let mut budget = self.budget.borrow().clone();
        let value = variable.program.eval(self, &mut budget);
        *self.budget.borrow_mut() = budget;
        *variable.value.borrow_mut() = Some(value.clone());
        Some(value)
    }
}

/// What a policy says of a request with one object of parameters.
enum Verdict {
    Passed,
    Denied { message: String, reason: String },
    Error(String),
}

/// Asks every policy that is bound to what is requested.
pub(crate) fn validate(
    server: &Server,
    request: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    notes: &mut Notes,
) -> Result<(), Status> {
    let policies = server
        .store
        .list(server.slot(GROUP, "validatingadmissionpolicies"), None)
        .objects;
    if policies.is_empty() {
        return Ok(());
    }
    let bindings: Vec<Value> = server
        .store
        .list(server.slot(GROUP, "validatingadmissionpolicybindings"), None)
        .objects
        .iter()
        .map(|binding| binding.value())
        .collect();
    for policy in policies.iter().map(|policy| policy.value()) {
        let spec = &policy["spec"];
        let name = name_of(&policy);
        let constraints = &spec["matchConstraints"];
        let bound: Vec<&Value> = bindings
            .iter()
            .filter(|binding| binding["spec"]["policyName"] == name)
            .collect();
        if bound.is_empty() || constraints.is_null() {
            continue;
        }
        let Some(matched) = Criteria::of_policy(constraints).matches(server, request, object, old) else {
            continue;
        };
        let facts = Facts::new(server, request, &matched, object, old);
        for binding in bound {
            let resources = &binding["spec"]["matchResources"];
            if !resources.is_null()
                && Criteria::of_policy(resources)
                    .matches(server, request, object, old)
                    .is_none()
            {
                continue;
            }
            for verdict in verdicts(server, request, &policy, binding, &facts) {
                settle(request, object, &policy, binding, verdict, notes)?;
            }
        }
    }
    Ok(())
}

fn verdicts(server: &Server, request: &Attributes<'_>, policy: &Value, binding: &Value, facts: &Facts) -> Vec<Verdict> {
    let params = match params(server, request, policy, binding) {
        Ok(params) => params,
        Err(why) => return vec![Verdict::Error(format!("failed to configure binding: {why}"))],
    };
    let spec = &policy["spec"];
    let mut verdicts = Vec::new();
    for params in &params {
        match facts.meets(&spec["matchConditions"], params.as_ref()) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(why) => {
                verdicts.push(Verdict::Error(why));
                continue;
            }
        }
        verdicts.extend(judge(spec, facts, params.as_ref()));
    }
    verdicts
}

/// The objects that a binding gives its policy; one `None` for a policy without parameters.
fn params(
    server: &Server,
    request: &Attributes<'_>,
    policy: &Value,
    binding: &Value,
) -> Result<Vec<Option<Value>>, String> {
    let kind = &policy["spec"]["paramKind"];
    let reference = &binding["spec"]["paramRef"];
    if kind.is_null() {
        return Ok(vec![None]);
    }
    if reference.is_null() {
        return Ok(vec![Some(Value::Null)]);
    }
    let api_version = kind["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let served = server.served();
    let resource = served
        .registry
        .by_kind(group, version, kind["kind"].as_str().unwrap_or_default())
        .ok_or_else(|| {
            format!(
                "paramKind kind `{api_version}, Kind={}` not known",
                kind["kind"].as_str().unwrap_or_default()
            )
        })?;
    let named = reference["namespace"]
        .as_str()
        .filter(|namespace| !namespace.is_empty());
    let namespace = match (resource.namespaced, named) {
        (false, Some(_)) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
        (false, None) => "",
        (true, Some(namespace)) => namespace,
        (true, None) if request.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into(),
            );
        }
        (true, None) => request.namespace,
    };
    let slot = server.slot_of(resource);
    let found: Vec<Option<Value>> = match reference["name"].as_str().filter(|name| !name.is_empty()) {
        Some(name) => {
            let key = crate::store::key(namespace, name);
            server
                .store
                .get(slot, &key)
                .into_iter()
                .map(|object| Some(object.value()))
                .collect()
        }
        None => {
            let selector = LabelSelector::from_object(&reference["selector"]);
            let scope = resource.namespaced.then_some(namespace);
            let all = server.store.list(slot, scope).objects;
            let chosen = all.iter().map(|object| object.value()).filter(|object| {
                selector
                    .as_ref()
                    .is_some_and(|selector| selector.matches(&object["metadata"]["labels"]))
            });
            chosen.map(Some).collect()
        }
    };
    if found.is_empty() && reference["parameterNotFoundAction"] != "Allow" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}

/// Evaluates the validations of a policy.
fn judge(spec: &Value, facts: &Facts, params: Option<&Value>) -> Vec<Verdict> {
    let mut env = Env::admission(params.is_some(), true);
    let mut variables = Vec::new();
    for variable in spec["variables"].as_array().into_iter().flatten() {
        let name = format!("variables.{}", variable["name"].as_str().unwrap_or_default());
        let program = match env.compile(variable["expression"].as_str().unwrap_or_default()) {
            Ok(program) => program,
            Err(error) => return vec![Verdict::Error(error.to_string())],
        };
        env = env.with_type(&name, program.result_type().clone());
        variables.push(Variable {
            name,
            program,
            value: RefCell::new(None),
        });
    }
    let bindings = match facts.bindings(params) {
        Ok(bindings) => bindings,
        Err(error) => return vec![Verdict::Error(error.to_string())],
    };
    let scope = Scope {
        bindings,
        variables: &variables,
        budget: RefCell::new(Budget::new(Budget::OBJECT)),
    };
    let mut budget = Budget::new(Budget::OBJECT);
    let mut verdicts = Vec::new();
    for validation in spec["validations"].as_array().into_iter().flatten() {
        let text = |key: &str| validation[key].as_str().unwrap_or_default();
        let expression = text("expression");
        verdicts.push(match evaluate(&env, expression, &scope, &mut budget) {
            Ok(Val::Bool(true)) => Verdict::Passed,
            Ok(Val::Bool(false)) => Verdict::Denied {
                message: message(validation, &env, &scope, &mut budget),
                reason: text("reason").to_owned(),
            },
            Ok(_) => Verdict::Error(format!("expression '{expression}' is not a bool")),
            Err(why) => Verdict::Error(why),
        });
    }
    verdicts
}

/// What is told of a validation that does not hold.
fn message<'a>(validation: &Value, env: &Env, scope: &dyn Activation<'a>, budget: &mut Budget) -> String {
    let text = |key: &str| validation[key].as_str().map(str::trim).filter(|text| !text.is_empty());
    if let Some(expression) = text("messageExpression")
        && let Ok(Val::String(message)) = evaluate(env, expression, scope, budget)
    {
        let message = message.to_string();
        let fits = message.len() <= LONGEST_MESSAGE && !message.trim().is_empty() && !message.contains('\n');
        if fits {
            return message.trim().to_owned();
        }
    }
    text("message").map_or_else(
        || format!("failed expression: {}", text("expression").unwrap_or_default()),
        str::to_owned,
    )
}

/// Does with a verdict what the binding says.
fn settle(
    request: &Attributes<'_>,
    object: &Value,
    policy: &Value,
    binding: &Value,
    verdict: Verdict,
    notes: &mut Notes,
) -> Result<(), Status> {
    let (message, reason) = match verdict {
        Verdict::Passed => return Ok(()),
        Verdict::Error(why) if policy["spec"]["failurePolicy"] == "Ignore" => {
            tracing::warn!(policy = name_of(policy), why, "a policy failed and is ignored");
            return Ok(());
        }
        Verdict::Error(why) => (why, String::new()),
        Verdict::Denied { message, reason } => (message, reason),
    };
    let (policy, bound) = (name_of(policy), name_of(binding));
    let actions = binding["spec"]["validationActions"].as_array();
    let does = |action: &str| actions.is_some_and(|actions| actions.iter().any(|own| own == action));
    if does("Warn") {
        notes.warn(format!(
            "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{bound}': {message}"
        ));
    }
    if does("Audit") {
        let failure = json!([{
            "message": message, "policy": policy, "binding": bound, "validationActions": binding["spec"]["validationActions"],
        }]);
        notes.annotate(
            "validation.policy.admission.k8s.io/validation_failure",
            failure.to_string(),
        );
    }
    if !does("Deny") {
        return Ok(());
    }
    let denied = format!("ValidatingAdmissionPolicy '{policy}' with binding '{bound}' denied request: {message}");
    let (code, reason) = match reason.as_str() {
        "Unauthorized" => (401, "Unauthorized"),
        "Forbidden" => (403, "Forbidden"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    let resource = request.resource;
    let qualified = match resource.group.as_str() {
        "" => resource.plural.clone(),
        group => format!("{}.{group}", resource.plural),
    };
    let name = request.name_of(object);
    Err(Status {
        code,
        reason,
        message: format!("{qualified} {name:?} is forbidden: {denied}"),
        details: json!({
            "name": name,
            "group": resource.group,
            "kind": resource.plural,
            "causes": [{"message": denied}],
        }),
    })
}
