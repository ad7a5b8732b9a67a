//! Evaluation. Every step has a cost; when the sum passes the limit, evaluation ends there.
//!
//! Only cost ends it, never a clock: an expression gives the same answer on every machine.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use crate::cost;
use crate::library::pattern;
use crate::plan::{Attribute, Call, FoldPlan, Plan, QualifierKey, Root};
use crate::value::{Entries, Map, Object, Val, equal};

/// Why a part has no value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// An error as the language knows it: `false && error` is `false`.
    Error(Cow<'static, str>),
    /// The limit is passed; nothing absorbs that.
    Halt,
}

pub(crate) type Outcome<T> = Result<T, Fault>;

pub(crate) fn fail<T>(message: impl Into<Cow<'static, str>>) -> Outcome<T> {
    Err(Fault::Error(message.into()))
}

/// Steps that cost nothing by the rules but take time (comparing deep values): so many, and the evaluation ends, too.
const MAX_WORK: u64 = 50_000_000;
/// Bytes of one text made by an expression.
const MAX_TEXT: usize = 32 << 20;

enum Slot<'p, 'a> {
    Empty,
    /// A binding that nobody looked at yet.
    Lazy(&'p Plan),
    Value(Outcome<Val<'a>>),
}

/// One evaluation.
pub(crate) struct Cx<'p, 'a> {
    globals: &'p dyn Fn(&str) -> Option<Outcome<Val<'a>>>,
    slots: Vec<Slot<'p, 'a>>,
    cost: u64,
    limit: u64,
    work: u64,
    /// Patterns that are not literals.
    patterns: HashMap<String, Regex>,
}

impl<'p, 'a> Cx<'p, 'a> {
    pub fn new(globals: &'p dyn Fn(&str) -> Option<Outcome<Val<'a>>>, limit: u64) -> Self {
        Self {
            globals,
            slots: Vec::new(),
            cost: 0,
            limit,
            work: 0,
            patterns: HashMap::new(),
        }
    }

    /// For constants: without variables, without a limit.
    pub fn constant() -> Self {
        Self::new(&|_| None, u64::MAX)
    }

    pub fn cost(&self) -> u64 {
        self.cost
    }

    fn charge(&mut self, cost: u64) -> Outcome<()> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit {
            Err(Fault::Halt)
        } else {
            Ok(())
        }
    }

    /// Counts steps within one function.
    pub fn work(&mut self, steps: u64) -> Outcome<()> {
        self.work = self.work.saturating_add(steps);
        if self.work > MAX_WORK { Err(Fault::Halt) } else { Ok(()) }
    }

    /// Lets nobody make a text that fills the memory.
    pub fn may_hold(&self, bytes: usize) -> Outcome<()> {
        if bytes > MAX_TEXT { Err(Fault::Halt) } else { Ok(()) }
    }

    /// A compiled pattern.
    pub fn pattern(&mut self, text: &str) -> Outcome<Regex> {
        if let Some(found) = self.patterns.get(text) {
            return Ok(found.clone());
        }
        let compiled = pattern::compile(text).map_err(|message| Fault::Error(message.into()))?;
        if self.patterns.len() < 64 {
            self.patterns.insert(text.to_owned(), compiled.clone());
        }
        Ok(compiled)
    }

    pub fn eval(&mut self, plan: &'p Plan) -> Outcome<Val<'a>> {
        match plan {
            Plan::Const(value) => Ok(value.clone()),
            Plan::Attribute(attribute) => {
                let value = self.resolve(attribute);
                // A condition and a presence test cost what their parts cost.
                if !attribute.is_conditional() && !attribute.presence {
                    self.charge(1)?;
                }
                value
            }
            Plan::And(terms) => self.logical(terms, false),
            Plan::Or(terms) => self.logical(terms, true),
            Plan::Call(call) => self.call(call),
            Plan::InSet(parts) => {
                let value = self.eval(&parts.0)?;
                for item in &parts.1 {
                    if equal(&value, item, self)? {
                        return Ok(Val::Bool(true));
                    }
                }
                Ok(Val::Bool(false))
            }
            Plan::OptionalOr(parts) => match self.eval(&parts.0)? {
                Val::Optional(None) => self.eval(&parts.1),
                Val::Optional(some) => Ok(Val::Optional(some)),
                _ => fail("no such overload"),
            },
            Plan::OptionalOrValue(parts) => match self.eval(&parts.0)? {
                Val::Optional(None) => self.eval(&parts.1),
                Val::Optional(Some(value)) => Ok(Arc::unwrap_or_clone(value)),
                _ => fail("no such overload"),
            },
            Plan::List(items) => {
                let made = self.list(items);
                self.charge(cost::LIST)?;
                made
            }
            Plan::Map(entries) => {
                let made = self.map(entries);
                self.charge(cost::MAP)?;
                made
            }
            Plan::Object(name, fields) => {
                let made = self.object(name, fields);
                self.charge(cost::STRUCT)?;
                made
            }
            Plan::Fold(fold) => self.fold(fold),
        }
    }

    /// `&&` and `||`: one side may decide although the other fails.
    fn logical(&mut self, terms: &'p [Plan], decisive: bool) -> Outcome<Val<'a>> {
        let mut error = None;
        for term in terms {
            match self.eval(term) {
                Ok(Val::Bool(value)) if value == decisive => return Ok(Val::Bool(decisive)),
                Ok(Val::Bool(_)) => {}
                Err(Fault::Halt) => return Err(Fault::Halt),
                Ok(_) => error = error.or(Some(Fault::Error("no such overload".into()))),
                Err(failed) => error = error.or(Some(failed)),
            }
        }
        error.map_or(Ok(Val::Bool(!decisive)), Err)
    }

    fn call(&mut self, call: &'p Call) -> Outcome<Val<'a>> {
        let mut args = Vec::with_capacity(call.args.len());
        let mut failed = None;
        for (at, arg) in call.args.iter().enumerate() {
            match self.eval(arg) {
                Ok(value) => args.push(value),
                Err(Fault::Halt) => return Err(Fault::Halt),
                Err(error) => {
                    // With up to two arguments both are evaluated and the call is charged, with more it is given up.
                    if call.args.len() > 2 && at + 1 < call.args.len() {
                        return Err(error);
                    }
                    failed = failed.or(Some(error));
                    args.push(Val::Null);
                }
            }
        }
        let lenient = &*call.function == "@not_strictly_false";
        self.charge(cost::actual(call, &args))?;
        match failed {
            Some(_) if lenient => return Ok(Val::Bool(true)),
            Some(error) => return Err(error),
            None => {}
        }
        let result = (call.run)(self, &mut args, call.pattern.as_ref());
        if let Ok(value) = &result {
            self.charge(cost::actual_of_result(call, value))?;
        }
        result
    }

    fn list(&mut self, items: &'p [(Plan, bool)]) -> Outcome<Val<'a>> {
        let mut made = Vec::with_capacity(items.len());
        for (item, optional) in items {
            let value = self.eval(item)?;
            match value {
                value if !optional => made.push(value),
                Val::Optional(Some(value)) => made.push(Arc::unwrap_or_clone(value)),
                Val::Optional(None) => {}
                other => {
                    return fail(format!(
                        "cannot initialize optional list element from non-optional value {other}"
                    ));
                }
            }
        }
        Ok(Val::list(made))
    }

    fn map(&mut self, entries: &'p [(Plan, Plan, bool)]) -> Outcome<Val<'a>> {
        let mut made = Entries::default();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            match self.eval(value)? {
                value if !optional => made.insert(key, value)?,
                Val::Optional(Some(value)) => made.insert(key, Arc::unwrap_or_clone(value))?,
                Val::Optional(None) => continue,
                other => {
                    return fail(format!(
                        "cannot initialize optional entry '{key}' from non-optional value {other}"
                    ));
                }
            };
        }
        Ok(Val::Map(Map::new(made)))
    }

    fn object(&mut self, name: &Arc<str>, fields: &'p [(Arc<str>, Plan, bool)]) -> Outcome<Val<'a>> {
        let mut made: Vec<(Arc<str>, Val<'a>)> = Vec::with_capacity(fields.len());
        for (field, value, optional) in fields {
            let value = match self.eval(value)? {
                value if !optional => value,
                Val::Optional(Some(value)) => Arc::unwrap_or_clone(value),
                Val::Optional(None) => continue,
                other => {
                    return fail(format!(
                        "cannot initialize optional entry '{field}' from non-optional value {other}"
                    ));
                }
            };
            // A part of the object is spelled with its path: `Object{spec: Object.spec{}}`.
            let inner = match &value {
                Val::Object(inner) => Some(inner),
                _ => None,
            };
            if let Some(inner) = inner.filter(|_| crate::checker::is_patch_object(name)) {
                let wanted = format!("{name}.{field}");
                if *inner.name != *wanted {
                    return fail(format!(
                        "unexpected type name \"{}\", expected \"{wanted}\", which matches field name path from root Object type",
                        inner.name
                    ));
                }
            }
            made.retain(|(known, _)| known != field);
            made.push((field.clone(), value));
        }
        Ok(Val::Object(Arc::new(Object {
            name: name.clone(),
            fields: made,
        })))
    }

    fn fold(&mut self, fold: &'p FoldPlan) -> Outcome<Val<'a>> {
        let range = self.eval(&fold.range)?;
        let slot = fold.slot;
        if self.slots.len() < slot + 3 {
            self.slots.resize_with(slot + 3, || Slot::Empty);
        }
        // A fold within a fold within a lazy binding may use the slots of another: what was there comes back.
        let mut kept = [Slot::Empty, Slot::Empty, Slot::Empty];
        for (at, kept) in kept.iter_mut().enumerate() {
            *kept = std::mem::replace(&mut self.slots[slot + at], Slot::Empty);
        }
        self.slots[slot] = if fold.is_binding {
            Slot::Lazy(&fold.init)
        } else {
            Slot::Value(self.eval(&fold.init))
        };
        let looped = self.each(fold, &range);
        let result = looped.and_then(|()| self.eval(&fold.result));
        for (at, kept) in kept.into_iter().enumerate() {
            self.slots[slot + at] = kept;
        }
        result
    }

    fn each(&mut self, fold: &'p FoldPlan, range: &Val<'a>) -> Outcome<()> {
        let slot = fold.slot;
        match range {
            Val::List(list) => {
                let mut at = 0;
                list.each(&mut |item| {
                    if fold.two {
                        self.slots[slot + 1] = Slot::Value(Ok(Val::Int(at)));
                        self.slots[slot + 2] = Slot::Value(Ok(item));
                        at += 1;
                    } else {
                        self.slots[slot + 1] = Slot::Value(Ok(item));
                    }
                    self.iteration(fold)
                })?;
            }
            Val::Map(map) => {
                map.each(&mut |key, value| {
                    self.slots[slot + 1] = Slot::Value(Ok(key));
                    if fold.two {
                        self.slots[slot + 2] = Slot::Value(Ok(value));
                    }
                    self.iteration(fold)
                })?;
            }
            other => return fail(format!("got '{}', expected iterable type", other.type_of().name())),
        }
        Ok(())
    }

    /// One turn of the loop; whether there is another.
    fn iteration(&mut self, fold: &'p FoldPlan) -> Outcome<bool> {
        match self.eval(&fold.condition) {
            Ok(Val::Bool(false)) => return Ok(false),
            Err(Fault::Halt) => return Err(Fault::Halt),
            _ => {}
        }
        let step = self.eval(&fold.step);
        if matches!(step, Err(Fault::Halt)) {
            return Err(Fault::Halt);
        }
        self.slots[fold.slot] = Slot::Value(step);
        Ok(true)
    }

    // Attributes.

    fn resolve(&mut self, attribute: &'p Attribute) -> Outcome<Val<'a>> {
        let value = match &attribute.root {
            Root::Conditional(condition, branches) => match self.eval(condition)? {
                Val::Bool(true) => return self.resolve(&branches.0),
                Val::Bool(false) => return self.resolve(&branches.1),
                _ => return fail("no such overload"),
            },
            Root::Value(plan) => self.eval(plan)?,
            Root::Global(name) => match (self.globals)(name) {
                Some(value) => {
                    // A composed variable is one name here and a field of `variables` by the rules.
                    self.charge(u64::from(name.starts_with("variables.")))?;
                    value?
                }
                None => return fail(format!("no such attribute(s): {name}")),
            },
            Root::Local(slot, take) => self.local(*slot, *take)?,
        };
        if attribute.qualifiers.is_empty() {
            return Ok(value);
        }
        self.qualify(attribute, value)
    }

    fn local(&mut self, slot: usize, take: bool) -> Outcome<Val<'a>> {
        match &mut self.slots[slot] {
            Slot::Value(value) if take => std::mem::replace(value, Ok(Val::Null)),
            Slot::Value(value) => value.clone(),
            Slot::Lazy(plan) => {
                let plan = *plan;
                let value = self.eval(plan);
                self.slots[slot] = Slot::Value(value.clone());
                value
            }
            Slot::Empty => fail("no such attribute(s)"),
        }
    }

    fn qualify(&mut self, attribute: &'p Attribute, value: Val<'a>) -> Outcome<Val<'a>> {
        let (mut value, mut optional) = match value {
            Val::Optional(None) => {
                return Ok(if attribute.presence {
                    Val::Bool(false)
                } else {
                    Val::Optional(None)
                });
            }
            Val::Optional(Some(inner)) => (Arc::unwrap_or_clone(inner), true),
            value => (value, false),
        };
        let last = attribute.qualifiers.len() - 1;
        for (at, qualifier) in attribute.qualifiers.iter().enumerate() {
            optional |= qualifier.optional;
            let presence = attribute.presence && at == last;
            let (key, cost) = match &qualifier.key {
                QualifierKey::Const(key) => (Ok(key.clone()), 1),
                QualifierKey::Attribute(inner) => (self.resolve(inner), u64::from(!inner.is_conditional())),
            };
            let found = key.and_then(|key| find(&value, &key, optional || presence));
            if presence {
                self.charge(1)?;
                return Ok(Val::Bool(found?.is_some()));
            }
            if !matches!(found, Err(Fault::Halt)) && (!optional || matches!(found, Ok(Some(_)))) {
                self.charge(cost)?;
            }
            match found? {
                Some(found) => value = found,
                None => return Ok(Val::Optional(None)),
            }
        }
        Ok(if optional { Val::some(value) } else { value })
    }
}

/// A part of a value. `None`: it is not there, and that may be.
fn find<'a>(value: &Val<'a>, key: &Val<'a>, may_miss: bool) -> Outcome<Option<Val<'a>>> {
    let found = match value {
        Val::Map(map) => map.get(key)?,
        Val::Object(object) => {
            let field = key
                .as_str()
                .and_then(|name| object.fields.iter().find(|(known, _)| &**known == name));
            field.map(|(_, value)| value.clone())
        }
        Val::List(list) => {
            let at = match key {
                Val::Int(at) => Some(*at),
                Val::Uint(at) => i64::try_from(*at).ok(),
                Val::Double(at) if at.fract() == 0.0 => Some(*at as i64),
                _ => return fail(format!("unsupported index type '{}' in list", key.type_of().name())),
            };
            let item = match at.and_then(|at| usize::try_from(at).ok()) {
                Some(at) => list.get(at)?,
                None => None,
            };
            if item.is_none() && !may_miss {
                return fail(format!("index out of bounds: {key}"));
            }
            item
        }
        _ => None,
    };
    match found {
        None if !may_miss => fail(format!("no such key: {key}")),
        found => Ok(found),
    }
}
