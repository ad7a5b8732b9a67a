//! From the checked tree to something that runs: names become slots, constants are folded, literal patterns compiled.
//!
//! The shape follows the reference implementation's plan, because costs are counted by it: a name with its fields is
//! one attribute with qualifiers, and a branch of a condition is no step of its own.

use std::sync::Arc;

use regex::Regex;

use crate::ast::{Expr, Fold, Kind, Literal};
use crate::checker::Checked;
use crate::eval::{Cx, Fault, Outcome};
use crate::library::{self, Run, pattern};
use crate::value::{Str, Val};

pub(crate) enum Plan {
    Const(Val<'static>),
    Attribute(Box<Attribute>),
    And(Vec<Plan>),
    Or(Vec<Plan>),
    Call(Box<Call>),
    /// `x in [constants]`
    InSet(Box<(Plan, Vec<Val<'static>>)>),
    OptionalOr(Box<(Plan, Plan)>),
    OptionalOrValue(Box<(Plan, Plan)>),
    List(Vec<(Plan, bool)>),
    Map(Vec<(Plan, Plan, bool)>),
    Object(Arc<str>, Vec<(Arc<str>, Plan, bool)>),
    Fold(Box<FoldPlan>),
}

/// A value and the way into it.
pub(crate) struct Attribute {
    pub root: Root,
    pub qualifiers: Vec<Qualifier>,
    /// Whether only the presence of the last part is asked for.
    pub presence: bool,
}

pub(crate) enum Root {
    Global(Arc<str>),
    /// A slot; true when this is the last look at it.
    Local(usize, bool),
    Value(Plan),
    Conditional(Plan, Box<(Attribute, Attribute)>),
}

pub(crate) struct Qualifier {
    pub key: QualifierKey,
    pub optional: bool,
}

pub(crate) enum QualifierKey {
    Const(Val<'static>),
    Attribute(Attribute),
}

pub(crate) struct Call {
    pub function: Arc<str>,
    /// The overload, where there is but one.
    pub overload: Option<&'static str>,
    pub args: Vec<Plan>,
    pub run: Run,
    /// The compiled pattern, if it is a literal.
    pub pattern: Option<Regex>,
}

pub(crate) struct FoldPlan {
    pub range: Plan,
    pub init: Plan,
    pub condition: Plan,
    pub step: Plan,
    pub result: Plan,
    /// The first of its slots: accumulator, variable, second variable.
    pub slot: usize,
    pub two: bool,
    pub is_binding: bool,
}

impl Attribute {
    fn of(root: Root) -> Self {
        Self {
            root,
            qualifiers: Vec::new(),
            presence: false,
        }
    }

    pub fn is_conditional(&self) -> bool {
        matches!(self.root, Root::Conditional(..))
    }

    /// Goes one step further in; through a condition, in both branches.
    fn push(&mut self, key: impl Fn() -> QualifierKey + Copy, optional: bool, presence: bool) {
        match &mut self.root {
            Root::Conditional(_, branches) => {
                branches.0.push(key, optional, presence);
                branches.1.push(key, optional, presence);
            }
            _ => {
                self.qualifiers.push(Qualifier { key: key(), optional });
                self.presence |= presence;
            }
        }
    }
}

/// Plans an expression.
///
/// # Errors
/// A constant part of it fails.
pub(crate) fn plan(expr: &Expr, checked: &Checked) -> Outcome<Plan> {
    Planner {
        checked,
        locals: Vec::new(),
    }
    .plan(expr)
}

struct Planner<'c> {
    checked: &'c Checked,
    /// Names of slots, and whether a look takes the value.
    locals: Vec<(Arc<str>, bool)>,
}

impl Planner<'_> {
    fn plan(&mut self, expr: &Expr) -> Outcome<Plan> {
        if let Some(ty) = self.checked.constants.get(&expr.id) {
            return Ok(Plan::Const(Val::Type(ty.clone())));
        }
        match &expr.kind {
            Kind::Literal(literal) => Ok(Plan::Const(constant(literal))),
            Kind::Ident(name) => {
                let slot = self.locals.iter().rposition(|(local, _)| local == name);
                let root = match slot {
                    Some(slot) => Root::Local(slot, self.locals[slot].1),
                    None => Root::Global(name.clone()),
                };
                Ok(Plan::Attribute(Attribute::of(root).into()))
            }
            Kind::Select {
                operand,
                field,
                test_only,
            } => {
                let mut attribute = self.attribute(operand)?;
                let key = || QualifierKey::Const(Val::string(field.clone()));
                attribute.push(key, false, *test_only);
                Ok(Plan::Attribute(attribute.into()))
            }
            Kind::Call { target, function, args } => self.call(expr.id, target.as_deref(), function, args),
            Kind::List { elements, optional } => {
                let mut items = Vec::with_capacity(elements.len());
                for (at, element) in elements.iter().enumerate() {
                    items.push((self.plan(element)?, optional.contains(&at)));
                }
                let constant = |(item, _): &(Plan, bool)| matches!(item, Plan::Const(_));
                folded(items.iter().all(constant), Plan::List(items))
            }
            Kind::Map(parts) => {
                let mut entries = Vec::with_capacity(parts.len());
                for part in parts {
                    entries.push((self.plan(&part.key)?, self.plan(&part.value)?, part.optional));
                }
                let constant =
                    |(key, value, _): &(Plan, Plan, bool)| matches!((key, value), (Plan::Const(_), Plan::Const(_)));
                folded(entries.iter().all(constant), Plan::Map(entries))
            }
            Kind::Struct { name, fields } => {
                let mut planned = Vec::with_capacity(fields.len());
                for field in fields {
                    planned.push((field.name.clone(), self.plan(&field.value)?, field.optional));
                }
                Ok(Plan::Object(name.clone(), planned))
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    /// The expression as something to look into.
    fn attribute(&mut self, expr: &Expr) -> Outcome<Attribute> {
        Ok(match self.plan(expr)? {
            Plan::Attribute(attribute) => *attribute,
            other => Attribute::of(Root::Value(other)),
        })
    }

    fn call(&mut self, id: u32, target: Option<&Expr>, function: &Arc<str>, args: &[Expr]) -> Outcome<Plan> {
        match (&**function, args) {
            ("_[_]" | "_[?_]" | "_?._", [operand, index]) => return self.index(operand, index, &**function != "_[_]"),
            ("_?_:_", [condition, yes, no]) => {
                let condition = self.plan(condition)?;
                let branches = (self.attribute(yes)?, self.attribute(no)?);
                let root = Root::Conditional(condition, branches.into());
                return Ok(Plan::Attribute(Attribute::of(root).into()));
            }
            _ => {}
        }
        let mut planned = Vec::with_capacity(args.len() + 1);
        for arg in target.into_iter().chain(args) {
            planned.push(self.plan(arg)?);
        }
        let overload = match self.checked.overloads(id) {
            [only] => Some(*only),
            _ => None,
        };
        match &**function {
            "_&&_" => return Ok(Plan::And(planned)),
            "_||_" => return Ok(Plan::Or(planned)),
            "or" | "orValue" if planned.len() == 2 => {
                let second = planned.pop();
                let (Some(second), Some(first)) = (second, planned.pop()) else {
                    return Err(missing(function));
                };
                let both = Box::new((first, second));
                return Ok(if &**function == "or" {
                    Plan::OptionalOr(both)
                } else {
                    Plan::OptionalOrValue(both)
                });
            }
            "@in" if overload == Some("in_list") => {
                if let [value, Plan::Const(Val::List(list))] = planned.as_mut_slice() {
                    let items = list.to_vec()?;
                    let simple = |item: &Val<'static>| {
                        !matches!(
                            item,
                            Val::Bytes(_) | Val::List(_) | Val::Map(_) | Val::Optional(_) | Val::Opaque(_)
                        )
                    };
                    if items.iter().all(simple) {
                        let value = std::mem::replace(value, Plan::Const(Val::Null));
                        return Ok(match items.is_empty() {
                            true => Plan::Const(Val::Bool(false)),
                            false => Plan::InSet((value, items).into()),
                        });
                    }
                }
            }
            _ => {}
        }
        let run = library::find(function).ok_or_else(|| missing(function))?;
        let pattern = match planned.get(1) {
            Some(Plan::Const(Val::String(text))) if matches!(&**function, "matches" | "find" | "findAll") => {
                pattern::compile(text).ok()
            }
            _ => None,
        };
        let call = Call {
            function: function.clone(),
            overload,
            args: planned,
            run,
            pattern,
        };
        let foldable = CONVERSIONS.contains(&&*call.function) && matches!(call.args[..], [Plan::Const(_)]);
        folded(foldable, Plan::Call(call.into()))
    }

    fn index(&mut self, operand: &Expr, index: &Expr, optional: bool) -> Outcome<Plan> {
        let mut attribute = self.attribute(operand)?;
        // A branch of a condition needs a qualifier of its own, and plans are not copied: they are made again.
        let first = self.key(index)?;
        match &mut attribute.root {
            Root::Conditional(_, branches) => {
                let second = self.key(index)?;
                branches.0.qualifiers.push(Qualifier { key: first, optional });
                branches.1.qualifiers.push(Qualifier { key: second, optional });
            }
            _ => attribute.qualifiers.push(Qualifier { key: first, optional }),
        }
        Ok(Plan::Attribute(attribute.into()))
    }

    fn key(&mut self, index: &Expr) -> Outcome<QualifierKey> {
        Ok(match self.plan(index)? {
            Plan::Const(key) => QualifierKey::Const(key),
            Plan::Attribute(attribute) => QualifierKey::Attribute(*attribute),
            other => QualifierKey::Attribute(Attribute::of(Root::Value(other))),
        })
    }

    fn fold(&mut self, fold: &Fold) -> Outcome<Plan> {
        let range = self.plan(&fold.range)?;
        let init = self.plan(&fold.init)?;
        let is_binding = fold.is_binding();
        let slot = self.locals.len();
        self.locals.push((fold.accumulator.clone(), false));
        self.locals.push((fold.variable.clone(), false));
        self.locals
            .push((fold.second.clone().unwrap_or_else(|| "#unused".into()), false));
        let condition = self.plan(&fold.condition)?;
        // A step looks at the accumulator once on each way through, and then replaces it: the value may move.
        self.locals[slot].1 = !is_binding;
        let step = self.plan(&fold.step)?;
        self.locals[slot].1 = false;
        let result = self.plan(&fold.result)?;
        self.locals.truncate(slot);
        let two = fold.second.is_some();
        Ok(Plan::Fold(
            FoldPlan {
                range,
                init,
                condition,
                step,
                result,
                slot,
                two,
                is_binding,
            }
            .into(),
        ))
    }
}

/// Conversions of constants are done once.
const CONVERSIONS: [&str; 10] = [
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "string",
    "timestamp",
    "type",
    "uint",
];

fn folded(foldable: bool, plan: Plan) -> Outcome<Plan> {
    if !foldable {
        return Ok(plan);
    }
    let mut cx = Cx::constant();
    Ok(Plan::Const(cx.eval(&plan)?))
}

fn constant(literal: &Literal) -> Val<'static> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(value) => Val::Bool(*value),
        Literal::Int(number) => Val::Int(*number),
        Literal::Uint(number) => Val::Uint(*number),
        Literal::Double(number) => Val::Double(*number),
        Literal::String(text) => Val::String(Str::Shared(text.clone())),
        Literal::Bytes(bytes) => Val::Bytes(bytes.clone()),
    }
}

fn missing(function: &str) -> Fault {
    Fault::Error(format!("no such overload: {function}").into())
}
