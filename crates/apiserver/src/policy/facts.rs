//! What expressions look at: the request, its objects, and who asks.

use std::sync::Arc;

use knarr_cel::{Activation, Bindings, Budget, Decision, Env, EvalError, Question, Val};
use knarr_resource::admission::{Attributes, UserInfo};
use knarr_resource::expressions::{Expression, Expressions};
use serde_json::Value;

use crate::auth::authorizer::Authorizer;
use crate::auth::rbac;
use crate::server::Server;
use crate::webhook::matching::Matched;
use crate::webhook::{review, shown};

/// The facts of one request, in the version that matched.
pub(crate) struct Facts {
    request: Value,
    pub(super) object: Value,
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

    fn bindings<'a>(&'a self, params: Option<&'a Value>) -> Result<Bindings<'a>, String> {
        let typed = |value: &'a Value, ty| Val::from_json(value, ty).map_err(|error| error.to_string());
        let namespace = match &self.namespace {
            Value::Null => Val::Null,
            namespace => typed(namespace, Env::namespace_type())?,
        };
        let mut bindings = Bindings::new()
            .with("object", Val::dynamic(&self.object))
            .with("oldObject", Val::dynamic(&self.old))
            .with("request", typed(&self.request, Env::request_type())?)
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
    pub(crate) fn meets(&self, expressions: &Expressions, params: Option<&Value>) -> Result<bool, String> {
        if expressions.conditions.is_empty() {
            return Ok(true);
        }
        let bindings = self.bindings(params)?;
        let mut budget = Budget::new(Budget::MATCH_CONDITIONS);
        let mut failed = None;
        for condition in &expressions.conditions {
            match condition.eval(&bindings, &mut budget) {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => return Ok(false),
                Ok(_) => _ = failed.get_or_insert(format!("expression '{}' is not a bool", condition.text())),
                Err(why) => _ = failed.get_or_insert(why),
            }
        }
        failed.map_or(Ok(true), Err)
    }

    /// What the expressions of a policy see.
    pub(super) fn scope<'a>(
        &'a self,
        expressions: &'a Expressions,
        params: Option<&'a Value>,
    ) -> Result<Scope<'a>, String> {
        let variables = expressions.variables.iter().map(|(name, expression)| Variable {
            name,
            expression,
            value: Default::default(),
        });
        Ok(Scope {
            bindings: self.bindings(params)?,
            variables: variables.collect(),
            budget: Budget::new(Budget::OBJECT).into(),
        })
    }
}

/// One variable of a policy, evaluated when an expression first looks at it.
struct Variable<'a> {
    name: &'a str,
    expression: &'a Expression,
    value: std::cell::RefCell<Option<Result<Val<'a>, EvalError>>>,
}

/// What the expressions of a policy see.
pub(super) struct Scope<'a> {
    bindings: Bindings<'a>,
    variables: Vec<Variable<'a>>,
    /// What variables may still cost. The expression that looks first pays.
    budget: std::cell::RefCell<Budget>,
}

impl<'a> Activation<'a> for Scope<'a> {
    fn resolve(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        let Some(variable) = self.variables.iter().find(|variable| variable.name == name) else {
            return self.bindings.resolve(name);
        };
        if let Some(known) = &*variable.value.borrow() {
            return Some(known.clone());
        }
        let program = variable.expression.program()?;
        // A variable sees those before it only, so this ends.
        let mut budget = self.budget.borrow().clone();
        let value = program.eval(self, &mut budget);
        *self.budget.borrow_mut() = budget;
        *variable.value.borrow_mut() = Some(value.clone());
        Some(value)
    }
}
