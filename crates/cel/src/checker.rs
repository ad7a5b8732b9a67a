//! Type inference: every node gets a type, every call its overloads, every name its meaning.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Expr, Fold, Kind, Literal};
use crate::decl::DeclType;
use crate::functions::{FUNCTIONS, Overload, VARIABLES, type_named};
use crate::parser::qualified_name;
use crate::source::Issues;
use crate::types::{Type, joined};

/// Parts that the type of one expression may have.
const MAX_TYPE: usize = 1000;

/// What an expression may refer to.
pub(crate) struct Scope<'e> {
    pub variables: &'e HashMap<Arc<str>, Type>,
    pub objects: &'e HashMap<Arc<str>, Arc<DeclType>>,
    /// Whether `Object{}`, `JSONPatch{}` and what belongs to them exist.
    pub patches: bool,
}

/// What the check found out.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    types: Vec<Option<Type>>,
    overloads: HashMap<u32, Vec<&'static str>>,
    /// Names that stand for types.
    pub constants: HashMap<u32, Type>,
}

impl Checked {
    pub fn type_of(&self, expr: &Expr) -> &Type {
        self.types
            .get(expr.id as usize)
            .and_then(Option::as_ref)
            .unwrap_or(&Type::Dyn)
    }

    pub fn overloads(&self, id: u32) -> &[&'static str] {
        self.overloads.get(&id).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Checks the expression, in which dotted names are joined where they name one thing.
pub(crate) fn check(expr: &mut Expr, offsets: &[u32], scope: &Scope<'_>, issues: &mut Issues) -> Checked {
    let mut checker = Checker {
        scope,
        offsets,
        issues,
        locals: Vec::new(),
        found: Checked {
            types: vec![None; offsets.len()],
            ..Checked::default()
        },
        bound: Vec::new(),
        trail: Vec::new(),
    };
    checker.check(expr);
    let types = std::mem::take(&mut checker.found.types);
    let types = types.into_iter().map(|ty| ty.map(|ty| checker.resolved(&ty, true)));
    Checked {
        types: types.collect(),
        ..checker.found
    }
}

struct Checker<'c, 'e> {
    scope: &'c Scope<'e>,
    offsets: &'c [u32],
    issues: &'c mut Issues,
    locals: Vec<(Arc<str>, Type)>,
    found: Checked,
    /// What each type variable stands for.
    bound: Vec<Option<Type>>,
    /// What bindings were before, so that an attempt can be taken back.
    trail: Vec<(u32, Option<Type>)>,
}

impl Checker<'_, '_> {
    fn report(&mut self, id: u32, message: String) {
        self.issues.report(self.offsets[id as usize], message);
    }

    fn set(&mut self, expr: &Expr, ty: Type) {
        self.found.types[expr.id as usize] = Some(ty);
    }

    fn get(&self, expr: &Expr) -> Type {
        self.found.type_of(expr).clone()
    }

    fn mismatch(&mut self, expr: &Expr, expected: &Type, actual: &Type) {
        self.report(expr.id, format!("expected type '{expected}' but found '{actual}'"));
    }

    // Type variables.

    fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Var(self.bound.len() as u32 - 1)
    }

    fn bind(&mut self, var: u32, ty: Type) {
        let slot = &mut self.bound[var as usize];
        self.trail.push((var, slot.replace(ty)));
    }

    /// Runs an attempt; what it bound is forgotten if it fails.
    fn attempt(&mut self, run: impl FnOnce(&mut Self) -> bool) -> bool {
        let mark = self.trail.len();
        let fits = run(self);
        if !fits {
            while self.trail.len() > mark {
                if let Some((var, old)) = self.trail.pop() {
                    self.bound[var as usize] = old;
                }
            }
        }
        fits
    }

    fn resolved(&self, ty: &Type, to_dyn: bool) -> Type {
        let replaced = ty.rewrite(&mut |var| self.bound[var as usize].clone());
        if !to_dyn {
            return replaced;
        }
        replaced.rewrite(&mut |_| Some(Type::Dyn))
    }

    fn is_assignable(&mut self, to: &Type, from: &Type) -> bool {
        self.attempt(|checker| checker.unify(to, from))
    }

    fn unify(&mut self, first: &Type, second: &Type) -> bool {
        if let Type::Var(var) = second {
            match self.substitute(first, *var) {
                Ok(true) => return true,
                Err(()) => return false,
                Ok(false) => {}
            }
        }
        if let Type::Var(var) = first {
            return self.substitute(second, *var) == Ok(true);
        }
        if first.is_dyn_or_error() || second.is_dyn_or_error() {
            return true;
        }
        let nullable = |ty: &Type| {
            matches!(
                ty,
                Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp
            )
        };
        if *first == Type::Null {
            return nullable(second);
        }
        if *second == Type::Null {
            return nullable(first);
        }
        match (first, second) {
            (Type::List(a), Type::List(b)) => self.unify(a, b),
            (Type::Map(a, b), Type::Map(c, d)) => self.unify(a, c) && self.unify(b, d),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::Opaque(a, first), Type::Opaque(b, second)) => {
                a == b && first.len() == second.len() && first.iter().zip(second.iter()).all(|(a, b)| self.unify(a, b))
            }
            _ => first == second,
        }
    }

    /// Lets the variable stand for the type. `Ok(false)`: it cannot; `Err`: it already stands for something else.
    fn substitute(&mut self, ty: &Type, var: u32) -> Result<bool, ()> {
        if *ty == Type::Var(var) {
            return Ok(true);
        }
        if let Some(known) = self.bound[var as usize].clone() {
            if *ty == known {
                return Ok(true);
            }
            if !self.unify(ty, &known) {
                return Err(());
            }
            let general = more_general(ty, &known);
            if self.not_within(var, &general) {
                self.bind(var, general);
            }
            return Ok(true);
        }
        let free = self.not_within(var, ty);
        if free {
            self.bind(var, ty.clone());
        }
        Ok(free)
    }

    fn not_within(&self, var: u32, ty: &Type) -> bool {
        match ty {
            Type::Var(other) => {
                *other != var
                    && self.bound[*other as usize]
                        .as_ref()
                        .is_none_or(|known| self.not_within(var, known))
            }
            Type::List(item) => self.not_within(var, item),
            Type::Map(key, value) => self.not_within(var, key) && self.not_within(var, value),
            Type::Type(Some(inner)) => self.not_within(var, inner),
            Type::Opaque(_, params) => params.iter().all(|param| self.not_within(var, param)),
            _ => true,
        }
    }

    // Nodes.

    fn check(&mut self, expr: &mut Expr) {
        let mut kind = std::mem::replace(&mut expr.kind, Kind::Literal(Literal::Null));
        let ty = match &mut kind {
            Kind::Literal(literal) => match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) => Type::Int,
                Literal::Uint(_) => Type::Uint,
                Literal::Double(_) => Type::Double,
                Literal::String(_) => Type::String,
                Literal::Bytes(_) => Type::Bytes,
            },
            Kind::Ident(name) => self.name(expr.id, name).unwrap_or_else(|| {
                self.undeclared(expr.id, name);
                Type::Error
            }),
            Kind::Select {
                operand,
                field,
                test_only,
            } => {
                let joined = (!*test_only).then(|| self.joined_name(operand, field)).flatten();
                if let Some(ty) = joined.as_deref().and_then(|name| self.name(expr.id, name)) {
                    kind = Kind::Ident(joined.unwrap_or_default().into());
                    ty
                } else {
                    let ty = self.select(expr.id, operand, field, false);
                    if *test_only {
                        Type::Bool
                    } else {
                        self.resolved(&ty, false)
                    }
                }
            }
            Kind::Call { target, function, args } => self.call(expr.id, target, function, args),
            Kind::List { elements, optional } => {
                let mut item = None;
                for (at, element) in elements.iter_mut().enumerate() {
                    self.check(element);
                    let ty = self.element_type(element, optional.contains(&at));
                    item = Some(self.join(item, ty));
                }
                Type::list(item.unwrap_or_else(|| self.fresh()))
            }
            Kind::Map(entries) => {
                let (mut keys, mut values) = (None, None);
                for entry in entries.iter_mut() {
                    self.check(&mut entry.key);
                    let key = self.get(&entry.key);
                    keys = Some(self.join(keys, key));
                    self.check(&mut entry.value);
                    let value = self.element_type(&entry.value, entry.optional);
                    values = Some(self.join(values, value));
                }
                let keys = keys.unwrap_or_else(|| self.fresh());
                Type::map(keys, values.unwrap_or_else(|| self.fresh()))
            }
            Kind::Struct { name, fields } => {
                let known = self.scope.patches && (&**name == "JSONPatch" || is_patch_object(name));
                if !known {
                    self.undeclared(expr.id, name);
                }
                for field in fields.iter_mut() {
                    self.check(&mut field.value);
                    let given = self.element_type(&field.value, field.optional);
                    let wanted = match (known, &**name, &*field.name) {
                        (true, "JSONPatch", "op" | "path" | "from") => Type::String,
                        (true, "JSONPatch", "value") => Type::Dyn,
                        (true, "JSONPatch", other) => {
                            self.report(field.id, format!("undefined field '{other}'"));
                            Type::Error
                        }
                        _ => Type::Dyn,
                    };
                    if !self.is_assignable(&wanted, &given) {
                        let name = &field.name;
                        let message =
                            format!("expected type of field '{name}' is '{wanted}' but provided type is '{given}'");
                        self.report(field.id, message);
                    }
                }
                if known { Type::Object(name.clone()) } else { Type::Error }
            }
            Kind::Fold(fold) => self.fold(fold),
        };
        expr.kind = kind;
        // `[1].map(a, {a: a}).map(b, {b: b})`... doubles the type with each step.
        if ty.size_up_to(MAX_TYPE) >= MAX_TYPE {
            self.report(expr.id, "the type of this expression is too large".to_owned());
            return self.set(expr, Type::Error);
        }
        self.set(expr, ty);
    }

    fn undeclared(&mut self, id: u32, name: &str) {
        self.report(id, format!("undeclared reference to '{name}' (in container '')"));
    }

    /// `operand.field` as one name, unless the operand begins with a local variable.
    fn joined_name(&self, operand: &Expr, field: &str) -> Option<String> {
        let prefix = qualified_name(operand)?;
        let first = prefix.split('.').next().unwrap_or_default();
        let local = self.locals.iter().any(|(name, _)| &**name == first);
        (!local).then(|| format!("{prefix}.{field}"))
    }

    fn name(&mut self, id: u32, name: &str) -> Option<Type> {
        if let Some((_, ty)) = self.locals.iter().rev().find(|(local, _)| &**local == name) {
            return Some(ty.clone());
        }
        if let Some(ty) = self.scope.variables.get(name) {
            return Some(ty.clone());
        }
        let named = type_named(name).or_else(|| {
            let known = self.scope.objects.contains_key(name) || LIBRARY_TYPES.contains(&name);
            known.then(|| Type::object(name))
        })?;
        self.found.constants.insert(id, named.clone());
        Some(Type::Type(Some(named.into())))
    }

    fn element_type(&mut self, expr: &Expr, optional: bool) -> Type {
        let ty = self.get(expr);
        if !optional {
            return ty;
        }
        let resolved = self.resolved(&ty, false);
        match resolved.optional_parameter() {
            Some(inner) => inner.clone(),
            None => {
                if resolved != Type::Dyn {
                    self.mismatch(expr, &Type::optional(resolved.clone()), &resolved);
                }
                resolved
            }
        }
    }

    fn join(&mut self, so_far: Option<Type>, next: Type) -> Type {
        match so_far {
            None => next,
            Some(so_far) if self.is_assignable(&so_far, &next) => more_general(&so_far, &next),
            Some(_) => Type::Dyn,
        }
    }

    fn select(&mut self, id: u32, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let operand = self.resolved(&self.get(operand), false);
        let (target, was_optional) = match operand.optional_parameter() {
            Some(inner) => (inner.clone(), true),
            None => (operand, false),
        };
        let result = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(name) => match self.scope.objects.get(name) {
                Some(object) => object.field(field).map(|ty| ty.as_type()).unwrap_or_else(|| {
                    self.report(id, format!("undefined field '{field}'"));
                    Type::Error
                }),
                None if self.scope.patches && is_patch_object(name) => Type::Dyn,
                None => {
                    self.report(id, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Var(_) => {
                self.is_assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.report(id, format!("type '{other}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        if was_optional || optional {
            Type::optional(result)
        } else {
            result
        }
    }

    fn call(&mut self, id: u32, target: &mut Option<Box<Expr>>, function: &mut Arc<str>, args: &mut [Expr]) -> Type {
        if &**function == "_?._" {
            self.found.overloads.insert(id, vec!["select_optional_field"]);
            let [operand, field] = args else { return Type::Error };
            let Kind::Literal(Literal::String(name)) = &field.kind else {
                return Type::Error;
            };
            let name = name.clone();
            self.check(field);
            let ty = self.select(id, operand, &name, true);
            return self.resolved(&ty, false);
        }
        for arg in args.iter_mut() {
            self.check(arg);
        }
        // `a.b.c()` is the function `a.b.c`, if there is one.
        let qualified = target
            .as_deref()
            .and_then(qualified_name)
            .map(|prefix| format!("{prefix}.{function}"));
        if let Some(name) = qualified.filter(|name| self.function(name).is_some()) {
            *function = name.into();
            *target = None;
        }
        if let Some(target) = target {
            self.check(target);
        }
        let Some(overloads) = self.function(function) else {
            self.undeclared(id, function);
            return Type::Error;
        };
        let args: Vec<&Expr> = target.iter().map(|target| &**target).chain(args.iter()).collect();
        self.overload(id, function, overloads, target.is_some(), &args)
    }

    fn function(&self, name: &str) -> Option<&'static [Overload]> {
        if name == "jsonpatch.escapeKey" && !self.scope.patches {
            return None;
        }
        FUNCTIONS.get(name).map(Vec::as_slice)
    }

    fn overload(
        &mut self,
        id: u32,
        function: &str,
        overloads: &'static [Overload],
        member: bool,
        args: &[&Expr],
    ) -> Type {
        let types: Vec<Type> = args.iter().map(|arg| self.get(arg)).collect();
        if matches!(function, "_&&_" | "_||_") {
            let mut result = Type::Bool;
            for (arg, ty) in args.iter().zip(&types) {
                if !self.is_assignable(ty, &Type::Bool) {
                    let shown = self.resolved(ty, true);
                    self.mismatch(arg, &Type::Bool, &shown);
                    result = Type::Error;
                }
            }
            self.found.overloads.insert(id, vec![overloads[0].id]);
            return result;
        }
        let (mut fitting, mut result): (Vec<&'static str>, Option<Type>) = (Vec::new(), None);
        for overload in overloads {
            if overload.member != member || overload.args.len() != types.len() {
                continue;
            }
            let base = self.bound.len() as u32;
            self.bound.resize(self.bound.len() + VARIABLES as usize, None);
            // Variables of the table become fresh ones; they are not looked into again.
            let instance = |ty: &Type| shifted(ty, base);
            let wanted: Vec<Type> = overload.args.iter().map(instance).collect();
            let fits = self.attempt(|checker| {
                types
                    .iter()
                    .zip(&wanted)
                    .all(|(given, wanted)| checker.unify(given, wanted))
            });
            if !fits {
                continue;
            }
            fitting.push(overload.id);
            let gives = self.resolved(&instance(&overload.result), false);
            result = Some(match result {
                None => gives,
                Some(before) if before == Type::Dyn || before == gives => before,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let shown: Vec<Type> = types.iter().map(|ty| self.resolved(ty, true)).collect();
            let signature = match shown.split_first() {
                Some((receiver, rest)) if member => format!("{receiver}.({})", joined(rest)),
                _ => format!("({})", joined(&shown)),
            };
            self.report(
                id,
                format!("found no matching overload for '{function}' applied to '{signature}'"),
            );
            return Type::Error;
        };
        self.found.overloads.insert(id, fitting);
        result
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        self.check(&mut fold.range);
        self.check(&mut fold.init);
        let range = self.resolved(&self.get(&fold.range), false);
        let accumulator = self.get(&fold.init);
        let two = fold.second.is_some();
        let (first, second) = match &range {
            Type::List(item) if two => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error | Type::Var(_) => {
                self.is_assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.report(fold.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        let outer = self.locals.len();
        self.locals.push((fold.accumulator.clone(), accumulator.clone()));
        self.locals.push((fold.variable.clone(), first));
        if let Some(name) = &fold.second {
            self.locals.push((name.clone(), second));
        }
        self.check(&mut fold.condition);
        self.assert(&fold.condition, &Type::Bool);
        self.check(&mut fold.step);
        self.assert(&fold.step, &accumulator);
        self.locals.truncate(outer + 1);
        self.check(&mut fold.result);
        self.locals.truncate(outer);
        self.resolved(&self.get(&fold.result), false)
    }

    fn assert(&mut self, expr: &Expr, wanted: &Type) {
        let ty = self.get(expr);
        if !self.is_assignable(wanted, &ty) {
            self.mismatch(expr, wanted, &ty);
        }
    }
}

/// Types of libraries that expressions can name.
const LIBRARY_TYPES: [&str; 4] = [
    "kubernetes.URL",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
];

/// Whether a name is `Object` or a path below it, as mutations spell the types of parts of the object.
pub(crate) fn is_patch_object(name: &str) -> bool {
    name == "Object" || name.starts_with("Object.")
}

fn shifted(ty: &Type, base: u32) -> Type {
    match ty {
        Type::Var(number) => Type::Var(base + number),
        Type::List(item) => Type::list(shifted(item, base)),
        Type::Map(key, value) => Type::map(shifted(key, base), shifted(value, base)),
        Type::Type(Some(inner)) => Type::Type(Some(shifted(inner, base).into())),
        Type::Opaque(name, params) => {
            Type::Opaque(name.clone(), params.iter().map(|param| shifted(param, base)).collect())
        }
        other => other.clone(),
    }
}

/// The less specific of two types that agree.
fn more_general(first: &Type, second: &Type) -> Type {
    if is_equal_or_less_specific(first, second) {
        first.clone()
    } else {
        second.clone()
    }
}

fn is_equal_or_less_specific(first: &Type, second: &Type) -> bool {
    match (first, second) {
        (Type::Dyn | Type::Var(_), _) => true,
        (_, Type::Dyn | Type::Var(_)) => false,
        (Type::List(a), Type::List(b)) => is_equal_or_less_specific(a, b),
        (Type::Map(a, b), Type::Map(c, d)) => is_equal_or_less_specific(a, c) && is_equal_or_less_specific(b, d),
        (Type::Type(_), Type::Type(_)) => true,
        (Type::Opaque(a, first), Type::Opaque(b, second)) => {
            a == b
                && first.len() == second.len()
                && first
                    .iter()
                    .zip(second.iter())
                    .all(|(a, b)| is_equal_or_less_specific(a, b))
        }
        _ => first == second,
    }
}
