//! Environments, programs and their evaluation: the way in.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::ast::{Expr, Kind};
use crate::checker::{self, Checked, Scope};
use crate::cost::{self, Range};
use crate::decl::{DeclType, ListKind};
use crate::eval::{Cx, Fault};
use crate::parser::{self, Parsed};
use crate::plan::{self, Plan};
use crate::source::Issues;
use crate::types::Type;
use crate::validate;
use crate::value::{EvalError, Val};

/// What one evaluation may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;

/// What `oldSelf` is in a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OldSelf {
    /// Of the type of `self`.
    #[default]
    Required,
    /// An optional of it: `optionalOldSelf`.
    Optional,
}

/// What expressions may refer to.
#[derive(Clone, Debug, Default)]
pub struct Env {
    types: HashMap<Arc<str>, Type>,
    /// Of variables with bounds.
    declared: HashMap<Arc<str>, Arc<DeclType>>,
    objects: HashMap<Arc<str>, Arc<DeclType>>,
    patches: bool,
}

impl Env {
    /// Functions alone, no variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// For `x-kubernetes-validations`: `self` and `oldSelf`. Give the type names first, see [`DeclType::named`].
    pub fn crd_rules(self_type: &Arc<DeclType>, old_self: OldSelf) -> Self {
        let old = match old_self {
            OldSelf::Required => self_type.as_type(),
            OldSelf::Optional => Type::optional(self_type.as_type()),
        };
        Self::new()
            .with_variable("self", self_type.clone())
            .with_variable("oldSelf", self_type.clone())
            .with_type("oldSelf", old)
    }

    /// For admission policies and match conditions: `object`, `oldObject`, `request`, `namespaceObject`, and, if there are
    /// such, `params`, `authorizer` and `authorizer.requestResource`.
    pub fn admission(params: bool, authorizer: bool) -> Self {
        let mut env = Self::new()
            .with_variable("object", DYNAMIC.clone())
            .with_variable("oldObject", DYNAMIC.clone())
            .with_variable("request", REQUEST.clone())
            .with_variable("namespaceObject", NAMESPACE.clone());
        if params {
            env = env.with_variable("params", DYNAMIC.clone());
        }
        if authorizer {
            env = env
                .with_type("authorizer", Type::object("kubernetes.authorization.Authorizer"))
                .with_type(
                    "authorizer.requestResource",
                    Type::object("kubernetes.authorization.ResourceCheck"),
                );
        }
        env
    }

    /// With `Object{}`, `JSONPatch{}` and `jsonpatch.escapeKey()`, for mutations.
    #[must_use]
    pub fn with_patches(mut self) -> Self {
        self.patches = true;
        self
    }

    /// With a variable of a declared type. The name may have dots (`variables.x`); nothing needs to be at their left.
    #[must_use]
    pub fn with_variable(mut self, name: &str, ty: Arc<DeclType>) -> Self {
        ty.objects(&mut |object, ty| {
            self.objects
                .entry(object.clone())
                .or_insert_with(|| Arc::new(ty.clone()));
        });
        self.types.insert(name.into(), ty.as_type());
        self.declared.insert(name.into(), ty);
        self
    }

    /// With a variable of a type: what another expression gives. Replaces the type that it had.
    #[must_use]
    pub fn with_type(mut self, name: &str, ty: Type) -> Self {
        self.types.insert(name.into(), ty);
        self
    }

    /// The declared type of a value of the variable `request`.
    pub fn request_type() -> &'static DeclType {
        &REQUEST
    }

    /// The declared type of a value of the variable `namespaceObject`.
    pub fn namespace_type() -> &'static DeclType {
        &NAMESPACE
    }

    /// Makes a program of a text.
    ///
    /// # Errors
    /// The text is no expression, or not one of this environment.
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        let Parsed { mut expr, offsets } = parser::parse(text)?;
        let mut issues = Issues::new(text);
        let scope = Scope {
            variables: &self.types,
            objects: &self.objects,
            patches: self.patches,
        };
        let checked = checker::check(&mut expr, &offsets, &scope, &mut issues);
        if issues.is_empty() {
            validate::validate(&expr, &checked, &offsets, &mut issues);
        }
        if !issues.is_empty() {
            return Err(issues.into());
        }
        let plan = plan::plan(&expr, &checked).map_err(|fault| match fault {
            Fault::Error(message) => CompileError::Program(message.into_owned()),
            Fault::Halt => CompileError::Program(EvalError::CallCost.to_string()),
        })?;
        Ok(Program {
            result: checked.type_of(&expr).clone(),
            expr,
            checked,
            plan,
        })
    }

    /// What the program may cost, by the bounds of the variables' types.
    pub fn estimate(&self, program: &Program) -> Range {
        cost::estimate(&program.expr, &program.checked, &self.declared, true)
    }

    /// The estimate as the language alone makes it.
    #[cfg(test)]
    pub(crate) fn estimate_plainly(&self, program: &Program) -> Range {
        cost::estimate(&program.expr, &program.checked, &self.declared, false)
    }
}

/// Why there is no program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// The text is wrong, in these places.
    Issues(Issues),
    /// A constant part of it fails.
    Program(String),
}

impl From<Issues> for CompileError {
    fn from(issues: Issues) -> Self {
        CompileError::Issues(issues)
    }
}

/// As Kubernetes reports it.
impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::Issues(issues) => write!(f, "compilation failed: {issues}"),
            CompileError::Program(message) => write!(f, "program instantiation failed: {message}"),
        }
    }
}

impl std::error::Error for CompileError {}

/// A compiled expression.
pub struct Program {
    expr: Expr,
    checked: Checked,
    plan: Plan,
    result: Type,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

impl Program {
    /// The type of what it evaluates to.
    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// Whether it looks at a variable.
    pub fn uses(&self, variable: &str) -> bool {
        let mut uses = false;
        self.expr
            .walk(&mut |node| uses |= matches!(&node.kind, Kind::Ident(name) if &**name == variable));
        uses
    }

    /// Evaluates. What it cost is taken from the budget.
    ///
    /// # Errors
    /// It has no value, or costs too much.
    pub fn eval<'a>(&self, activation: &dyn Activation<'a>, budget: &mut Budget) -> Result<Val<'a>, EvalError> {
        let globals = |name: &str| {
            Some(activation.resolve(name)?.map_err(|error| match error {
                EvalError::Failed(message) => Fault::Error(message.into()),
                EvalError::CallCost | EvalError::Budget => Fault::Halt,
            }))
        };
        let mut cx = Cx::new(&globals, PER_CALL_LIMIT);
        let result = cx.eval(&self.plan);
        budget.take(cx.cost())?;
        Ok(result?)
    }
}

/// Gives variables their values.
pub trait Activation<'a> {
    /// The value of a variable; `None` if there is no such. Asked each time an expression looks.
    fn resolve(&self, name: &str) -> Option<Result<Val<'a>, EvalError>>;
}

/// Variables with values.
#[derive(Clone, Debug, Default)]
pub struct Bindings<'a>(Vec<(&'static str, Val<'a>)>);

impl<'a> Bindings<'a> {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Val<'a>) -> Self {
        self.0.push((name, value));
        self
    }
}

impl<'a> Activation<'a> for Bindings<'a> {
    fn resolve(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| Ok(value.clone()))
    }
}

/// What the evaluations for one object may cost together.
#[derive(Clone, Debug)]
pub struct Budget {
    remaining: u64,
}

impl Budget {
    /// For the rules of a schema on one object, or the expressions of one policy binding.
    pub const OBJECT: u64 = 10_000_000;
    /// For the match conditions of one webhook or policy.
    pub const MATCH_CONDITIONS: u64 = 2_500_000;

    /// So much.
    pub fn new(total: u64) -> Self {
        Self { remaining: total }
    }

    /// What is left.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    fn take(&mut self, cost: u64) -> Result<(), EvalError> {
        match self.remaining.checked_sub(cost) {
            Some(rest) => {
                self.remaining = rest;
                Ok(())
            }
            None => {
                self.remaining = 0;
                Err(EvalError::Budget)
            }
        }
    }
}

static DYNAMIC: LazyLock<Arc<DeclType>> = LazyLock::new(|| Arc::new(DeclType::dynamic()));

/// The AdmissionRequest without its objects.
static REQUEST: LazyLock<Arc<DeclType>> = LazyLock::new(|| {
    let text = || DeclType::string(None);
    let kind = || {
        DeclType::object(
            "kubernetes.GroupVersionKind",
            [("group", text()), ("version", text()), ("kind", text())],
        )
    };
    let resource = || {
        let fields = [("group", text()), ("version", text()), ("resource", text())];
        DeclType::object("kubernetes.GroupVersionResource", fields)
    };
    let texts = || DeclType::list(text(), None, ListKind::Atomic);
    let user = [
        ("username", text()),
        ("uid", text()),
        ("groups", texts()),
        ("extra", DeclType::map(texts(), None)),
    ];
    let fields = [
        ("kind", kind()),
        ("resource", resource()),
        ("subResource", text()),
        ("requestKind", kind()),
        ("requestResource", resource()),
        ("requestSubResource", text()),
        ("name", text()),
        ("namespace", text()),
        ("operation", text()),
        ("userInfo", DeclType::object("kubernetes.UserInfo", user)),
        ("dryRun", DeclType::bool()),
        ("options", DeclType::dynamic()),
    ];
    Arc::new(DeclType::object("kubernetes.AdmissionRequest", fields))
});

/// A Namespace without managed fields and owners.
static NAMESPACE: LazyLock<Arc<DeclType>> = LazyLock::new(|| {
    let text = || DeclType::string(None);
    let texts = || DeclType::list(text(), None, ListKind::Atomic);
    let labels = || DeclType::map(text(), None);
    let metadata = [
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", labels()),
        ("annotations", labels()),
        ("UID", text()),
        ("creationTimestamp", DeclType::date_time()),
        ("deletionGracePeriodSeconds", DeclType::int()),
        ("deletionTimestamp", DeclType::date_time()),
        ("generation", DeclType::int()),
        ("resourceVersion", text()),
        ("finalizers", texts()),
    ];
    let condition = [
        ("status", text()),
        ("type", text()),
        ("lastTransitionTime", DeclType::date_time()),
        ("message", text()),
        ("reason", text()),
    ];
    let condition = DeclType::object("kubernetes.NamespaceCondition", condition);
    let status = [
        ("conditions", DeclType::list(condition, None, ListKind::Atomic)),
        ("phase", text()),
    ];
    let fields = [
        ("metadata", DeclType::object("kubernetes.NamespaceMetadata", metadata)),
        (
            "spec",
            DeclType::object("kubernetes.NamespaceSpec", [("finalizers", texts())]),
        ),
        ("status", DeclType::object("kubernetes.NamespaceStatus", status)),
    ];
    Arc::new(DeclType::object("kubernetes.Namespace", fields).nullable())
});
