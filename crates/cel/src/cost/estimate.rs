//! What an expression may cost, before it runs: the least and the most, by the bounds that schemas put on sizes.

use std::collections::HashMap;
use std::sync::Arc;

use super::{CHECK, LIST, MAP, PER_CHARACTER, PER_PATTERN, PER_REQUIREMENT, STRUCT, is_text_order, scaled};
use crate::ast::{ACCUMULATOR, Expr, Fold, Kind, Literal};
use crate::checker::Checked;
use crate::decl::{DeclType, Shape};
use crate::types::Type;

/// The longest pattern of a named format.
const MAX_FORMAT_PATTERN: f64 = 128.0;

/// The least and the most that something may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Least.
    pub min: u64,
    /// Most.
    pub max: u64,
}

impl Range {
    const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    const fn fixed(number: u64) -> Self {
        Self {
            min: number,
            max: number,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    fn times(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    fn scaled(self, factor: f64) -> Self {
        // `as` saturates.
        Self {
            min: scaled(self.min, factor),
            max: scaled(self.max, factor),
        }
    }

    fn union(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// The sizes of what a list or a map holds.
#[derive(Clone, Copy)]
struct EntrySize {
    is_list: bool,
    key: Range,
    value: Range,
}

impl EntrySize {
    fn union(self, other: Self) -> Self {
        Self {
            key: self.key.union(other.key),
            value: self.value.union(other.value),
            ..self
        }
    }
}

type Path = Vec<Arc<str>>;

struct Local {
    name: Arc<str>,
    path: Path,
    size: Option<Range>,
    entry: Option<EntrySize>,
}

/// What a call may cost, and how big its result may be.
struct Estimate {
    cost: Range,
    size: Option<Range>,
}

/// What the expression may cost, given the declared types of its variables. Without Kubernetes' own numbers each call
/// into its libraries counts as one.
pub(crate) fn estimate(
    expr: &Expr,
    checked: &Checked,
    variables: &HashMap<Arc<str>, Arc<DeclType>>,
    kubernetes: bool,
) -> Range {
    let mut estimator = Estimator {
        checked,
        variables,
        kubernetes,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    estimator.cost(expr)
}

struct Estimator<'e> {
    checked: &'e Checked,
    variables: &'e HashMap<Arc<str>, Arc<DeclType>>,
    kubernetes: bool,
    paths: HashMap<u32, Path>,
    sizes: HashMap<u32, Range>,
    entries: HashMap<u32, EntrySize>,
    locals: Vec<Local>,
}

impl Estimator<'_> {
    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => Range::fixed(0),
            Kind::Ident(name) => {
                let path = self
                    .local(name)
                    .map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                Range::fixed(1)
            }
            Kind::Select {
                operand,
                field,
                test_only,
            } => {
                let cost = self.cost(operand);
                if *test_only {
                    return cost;
                }
                let mut path = self.path(operand);
                path.push(field.clone());
                self.paths.insert(expr.id, path);
                match self.checked.type_of(operand) {
                    Type::Map(..) | Type::Object(_) => cost.plus(Range::fixed(1)),
                    _ => cost,
                }
            }
            Kind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args),
            Kind::List { elements, .. } => {
                let mut sum = Range::fixed(LIST);
                let mut item = Range {
                    min: if elements.is_empty() { 0 } else { u64::MAX },
                    max: 0,
                };
                for element in elements {
                    sum = sum.plus(self.cost(element));
                    item = item.union(self.size_or_unknown(element));
                }
                let entry = EntrySize {
                    is_list: true,
                    key: Range::fixed(1),
                    value: item,
                };
                self.entries.insert(expr.id, entry);
                sum
            }
            Kind::Map(entries) => {
                let mut sum = Range::fixed(MAP);
                let none = Range {
                    min: if entries.is_empty() { 0 } else { u64::MAX },
                    max: 0,
                };
                let (mut key, mut value) = (none, none);
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.union(self.size_or_unknown(&entry.key));
                    value = value.union(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(
                    expr.id,
                    EntrySize {
                        is_list: false,
                        key,
                        value,
                    },
                );
                sum
            }
            Kind::Struct { fields, .. } => fields
                .iter()
                .fold(Range::fixed(STRUCT), |sum, field| sum.plus(self.cost(&field.value))),
            Kind::Fold(fold) if fold.is_binding() => {
                let sum = self.cost(&fold.range).plus(self.cost(&fold.init));
                self.push_accumulator(fold);
                let sum = sum.plus(self.cost(&fold.result));
                self.locals.pop();
                if let Some(size) = self.size(&fold.result) {
                    self.sizes.insert(expr.id, size);
                }
                if let Some(entry) = self.entry(&fold.result) {
                    self.entries.insert(expr.id, entry);
                }
                sum
            }
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| &*local.name == name)
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn entry(&self, expr: &Expr) -> Option<EntrySize> {
        if let Some(entry) = self.entries.get(&expr.id) {
            return Some(*entry);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.entry,
            _ => None,
        }
    }

    /// What the schema says of the size of what is at a path.
    fn declared(&self, path: &[Arc<str>]) -> Option<Range> {
        let (first, rest) = path.split_first()?;
        if &**first == ACCUMULATOR {
            return None;
        }
        let mut current: &DeclType = self.variables.get(first)?;
        for step in rest {
            current = match &**step {
                "@items" | "@values" => current.element()?,
                // Keys are strings of any length, which count as nothing.
                "@keys" if matches!(current.shape, Shape::Map(_)) => return Some(Range::fixed(0)),
                "@keys" => return None,
                name => current.field(name)?,
            };
        }
        Some(Range {
            min: 0,
            max: current.max_elements,
        })
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        let literal = match &expr.kind {
            Kind::Literal(Literal::String(text)) => Some(text.chars().count()),
            Kind::Literal(Literal::Bytes(bytes)) => Some(bytes.len()),
            Kind::Literal(_) => Some(1),
            Kind::List { elements, .. } => Some(elements.len()),
            Kind::Map(entries) => Some(entries.len()),
            _ => None,
        };
        if let Some(size) = literal {
            return Some(Range::fixed(size as u64));
        }
        if let Some(size) = self.declared(&self.path(expr)) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if self.checked.type_of(expr).is_scalar() {
            return Some(Range::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn push_accumulator(&mut self, fold: &Fold) {
        let local = Local {
            name: fold.accumulator.clone(),
            path: self.path(&fold.init),
            size: self.size(&fold.init),
            entry: self.entry(&fold.init),
        };
        self.locals.push(local);
    }

    fn push_variable(&mut self, name: &Arc<str>, range: &Expr, keys: bool) {
        let entry = self.entry(range);
        let mut path = self.path(range);
        let is_list = entry.map_or(matches!(self.checked.type_of(range), Type::List(_)), |entry| {
            entry.is_list
        });
        path.push(
            match (keys, is_list) {
                (true, true) => "@indices",
                (true, false) => "@keys",
                (false, true) => "@items",
                (false, false) => "@values",
            }
            .into(),
        );
        let size = entry.map(|entry| if keys { entry.key } else { entry.value });
        self.locals.push(Local {
            name: name.clone(),
            path,
            size,
            entry: None,
        });
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_accumulator(fold);
        let outer = self.locals.len();
        if let Some(second) = &fold.second {
            self.push_variable(&fold.variable, &fold.range, true);
            self.push_variable(second, &fold.range, false);
        } else {
            let entry = self.entry(&fold.range);
            let is_list = entry.map_or(matches!(self.checked.type_of(&fold.range), Type::List(_)), |entry| {
                entry.is_list
            });
            self.push_variable(&fold.variable, &fold.range, !is_list);
        }
        let turn = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.locals.truncate(outer);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times(turn));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List { .. } | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entry) = self.entry(&fold.step) {
                    self.entries.insert(expr.id, entry);
                }
            }
            _ => {}
        }
        sum
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Range {
        if function == "dyn" && target.is_none() {
            let Some(arg) = args.first() else {
                return Range::fixed(1);
            };
            let cost = self.cost(arg);
            if let Some(size) = self.size(arg) {
                self.sizes.insert(expr.id, size);
            }
            if let Some(entry) = self.entry(arg) {
                self.entries.insert(expr.id, entry);
            }
            return cost.plus(Range::fixed(1));
        }
        let costs: Vec<Range> = args.iter().map(|arg| self.cost(arg)).collect();
        let overloads = self.checked.overloads(expr.id).to_vec();
        let before = target.map_or(Range::fixed(0), |target| self.cost(target));
        let (mut cost, mut size): (Option<Range>, Option<Range>) = (None, None);
        for overload in overloads {
            let one = self.overload(expr, function, overload, target, args, &costs);
            cost = Some(cost.map_or(one.cost, |cost| cost.union(one.cost)));
            size = match (size, one.size) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            let step = match overload {
                "index_list" => Some("@items"),
                "index_map" => Some("@values"),
                _ => None,
            };
            if let (Some(step), Some(operand)) = (step, args.first()) {
                size = self.entry(operand).map(|entry| entry.value);
                let mut path = self.path(operand);
                path.push(step.into());
                self.paths.insert(expr.id, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        before.plus(cost.unwrap_or(Range::fixed(0)))
    }

    fn overload(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &str,
        target: Option<&Expr>,
        args: &[Expr],
        costs: &[Range],
    ) -> Estimate {
        let spent = costs.iter().fold(Range::fixed(0), |sum, cost| sum.plus(*cost));
        let mut known = self.of_lists(overload, target, args);
        if known.is_none() && self.kubernetes {
            known = self.of_kubernetes(function, overload, target, args);
        }
        if let Some(known) = known {
            return Estimate {
                cost: known.cost.plus(spent),
                ..known
            };
        }
        let only = |cost: Range| Estimate {
            cost: cost.plus(spent),
            size: None,
        };
        let sized = |cost: Range, size: Range| Estimate {
            cost: cost.plus(spent),
            size: Some(size),
        };
        match (overload, args) {
            ("string_format", _) => {
                let size = target.map_or(Range::UNKNOWN, |target| self.size_or_unknown(target));
                only(size.scaled(PER_CHARACTER))
            }
            ("string_to_bytes", [arg]) => {
                let size = self.size_or_unknown(arg);
                sized(
                    size.scaled(PER_CHARACTER),
                    Range {
                        min: size.min,
                        max: size.max.wrapping_mul(4),
                    },
                )
            }
            ("bytes_to_string", [arg]) => {
                let size = self.size_or_unknown(arg);
                sized(
                    size.scaled(PER_CHARACTER),
                    Range {
                        min: size.min / 4,
                        max: size.max,
                    },
                )
            }
            ("strings_quote", [arg]) => {
                let size = self.size_or_unknown(arg);
                let max = size.max.wrapping_mul(2).wrapping_add(2);
                sized(
                    size.scaled(PER_CHARACTER),
                    Range {
                        min: size.min.wrapping_add(2),
                        max,
                    },
                )
            }
            ("starts_with_string" | "ends_with_string", [arg]) => only(self.size_or_unknown(arg).scaled(PER_CHARACTER)),
            ("in_list", [_, list]) => only(self.size_or_unknown(list).scaled(1.0)),
            ("matches_string", [pattern]) | ("matches", [_, pattern]) => {
                let text = target.or(args.first());
                let text = text.map_or(Range::UNKNOWN, |text| self.size_or_unknown(text));
                let looks = text.plus(Range::fixed(1)).scaled(PER_CHARACTER);
                only(looks.times(self.size_or_unknown(pattern).scaled(PER_PATTERN)))
            }
            ("contains_string", [part]) => {
                let text = target.map_or(Range::UNKNOWN, |target| self.size_or_unknown(target));
                only(
                    text.scaled(PER_CHARACTER)
                        .times(self.size_or_unknown(part).scaled(PER_CHARACTER)),
                )
            }
            ("logical_or" | "logical_and", [_, ..]) => {
                // The first may decide alone.
                Estimate {
                    cost: Range {
                        min: costs[0].min,
                        max: spent.max,
                    },
                    size: None,
                }
            }
            ("conditional", [_, yes, no]) => {
                let size = self.size_or_unknown(yes).union(self.size_or_unknown(no));
                if let (Some(a), Some(b)) = (self.entry(yes), self.entry(no)) {
                    self.entries.insert(expr.id, a.union(b));
                }
                Estimate {
                    cost: costs[0].plus(costs[1].union(costs[2])),
                    size: Some(size),
                }
            }
            ("add_string" | "add_bytes" | "add_list", [a, b]) => {
                let size = self.size_or_unknown(a).plus(self.size_or_unknown(b));
                if let (Some(a), Some(b)) = (self.entry(a), self.entry(b)) {
                    self.entries.insert(expr.id, a.union(b));
                }
                let cost = if overload == "add_list" {
                    Range::fixed(1)
                } else {
                    size.scaled(PER_CHARACTER)
                };
                sized(cost, size)
            }
            (_, [a, b]) if matches!(overload, "equals" | "not_equals") || is_text_order(overload) => {
                let max = self.size_or_unknown(a).max.min(self.size_or_unknown(b).max);
                only(
                    Range {
                        min: u64::from(max > 0),
                        max,
                    }
                    .scaled(PER_CHARACTER),
                )
            }
            _ => only(Range::fixed(1)),
        }
    }

    fn of_lists(&mut self, overload: &str, target: Option<&Expr>, args: &[Expr]) -> Option<Estimate> {
        let whole = |arg: &Expr, otherwise: u64| match &arg.kind {
            Kind::Literal(Literal::Int(number)) => u64::try_from(*number).unwrap_or(0),
            _ => otherwise,
        };
        let allocating = |factor: f64, size: Range| Estimate {
            cost: size.scaled(factor).plus(Range::fixed(1 + LIST)),
            size: Some(size),
        };
        let squared =
            |size: Range, text: bool| allocating(if text { 2.0 + PER_CHARACTER } else { 2.0 }, size.times(size));
        let is_text = overload.starts_with("list_string_") || overload.starts_with("list_bytes_");
        match (overload, target, args) {
            ("list_slice", Some(target), [start, end]) => {
                let size = self.size_or_unknown(target);
                let length = whole(end, size.max).wrapping_sub(whole(start, 0));
                Some(allocating(1.0, Range::fixed(length)))
            }
            ("lists_range", None, [count]) => Some(allocating(1.0, Range::fixed(whole(count, u64::MAX)))),
            ("list_reverse", Some(target), []) => Some(allocating(1.0, self.size_or_unknown(target))),
            ("list_flatten", Some(target), []) => Some(allocating(1.0, self.size_or_unknown(target))),
            ("list_flatten_int", Some(target), [depth]) => {
                Some(allocating(whole(depth, u64::MAX) as f64, self.size_or_unknown(target)))
            }
            ("list_distinct", Some(target), []) => Some(squared(self.size_or_unknown(target), false)),
            (_, Some(target), []) if overload.ends_with("_sort") => {
                Some(squared(self.size_or_unknown(target), is_text))
            }
            (_, Some(_), [keys]) if overload.ends_with("_sortByAssociatedKeys") => {
                Some(squared(self.size_or_unknown(keys), is_text))
            }
            ("list_sets_contains_list" | "list_sets_intersects_list" | "list_sets_equivalent_list", None, [a, b]) => {
                let factor = if overload == "list_sets_equivalent_list" {
                    2.0
                } else {
                    1.0
                };
                let product = self.size_or_unknown(a).times(self.size_or_unknown(b));
                Some(Estimate {
                    cost: product.scaled(factor).plus(Range::fixed(1)),
                    size: None,
                })
            }
            _ => None,
        }
    }

    fn of_kubernetes(
        &mut self,
        function: &str,
        overload: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Option<Estimate> {
        let only = |cost: Range| Some(Estimate { cost, size: None });
        let sized = |cost: Range, size: Range| Some(Estimate { cost, size: Some(size) });
        match (function, target, args) {
            ("check", ..) => only(Range::fixed(CHECK)),
            ("fieldSelector" | "labelSelector", _, [selector]) => {
                let length = self.size_or_unknown(selector);
                let requirements = length.scaled(0.5).scaled(PER_REQUIREMENT);
                only(Range::fixed(LIST).plus(length.scaled(PER_CHARACTER)).plus(requirements))
            }
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
                let size = self.size_or_unknown(target);
                let Type::List(item) = self.checked.type_of(target) else {
                    return only(size.scaled(PER_CHARACTER));
                };
                let mut each = Range::fixed(1);
                if matches!(**item, Type::String | Type::Bytes) {
                    let mut path = self.path(target);
                    path.push("@items".into());
                    each = each.plus(self.declared(&path).unwrap_or(Range::UNKNOWN).scaled(PER_CHARACTER));
                }
                only(size.times(each))
            }
            ("url" | "jsonpatch.escapeKey", _, [text])
            | ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(text), _) => {
                let size = self.size_or_unknown(text);
                sized(size.scaled(PER_CHARACTER), size)
            }
            ("replace", Some(target), [old, new, ..]) => {
                let text = self.size_or_unknown(target);
                let (old, new) = (self.size_or_unknown(old), self.size_or_unknown(new));
                sized(text.scaled(2.0 * PER_CHARACTER), replaced(text, old, new))
            }
            ("split", Some(target), _) => {
                let size = self.size_or_unknown(target);
                let max = match args.get(1).map(|arg| &arg.kind) {
                    Some(Kind::Literal(Literal::Int(most))) => *most as u64,
                    _ => size.max,
                };
                sized(size.scaled(2.0 * PER_CHARACTER), Range { min: 0, max })
            }
            ("join", Some(target), _) => {
                let count = self.size_or_unknown(target);
                let mut size = Range::fixed(0);
                if matches!(self.checked.type_of(target), Type::List(_)) {
                    let mut path = self.path(target);
                    path.push("@items".into());
                    size = count.times(self.declared(&path).unwrap_or(Range::UNKNOWN));
                }
                if let Some(separator) = args.first() {
                    let between = Range {
                        min: count.min.saturating_sub(1),
                        max: count.max.saturating_sub(1),
                    };
                    size = size.plus(self.size_or_unknown(separator).times(between));
                }
                sized(size.scaled(PER_CHARACTER), size)
            }
            ("find" | "findAll", Some(target), [pattern, ..]) => {
                let size = self.size_or_unknown(target);
                let looks = size.plus(Range::fixed(1)).scaled(PER_CHARACTER);
                let cost = looks.times(self.size_or_unknown(pattern).scaled(PER_PATTERN));
                sized(cost, Range { min: 0, max: size.max })
            }
            ("ip", ..) if overload == "cidr_ip" => only(Range::fixed(1)),
            ("cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver", _, [text, ..]) => {
                only(self.size_or_unknown(text).scaled(PER_CHARACTER))
            }
            ("ip.isCanonical", _, [text]) => only(self.size_or_unknown(text).scaled(2.0 * PER_CHARACTER)),
            ("containsIP" | "containsCIDR", _, [other]) => {
                let address = Range { min: 4, max: 16 };
                let mut cost = address.plus(address).scaled(PER_CHARACTER);
                if function == "containsCIDR" {
                    cost = cost.plus(address.scaled(PER_CHARACTER)).plus(Range::fixed(1));
                }
                if matches!(overload, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
                    cost = cost.plus(self.size_or_unknown(other).scaled(PER_CHARACTER));
                }
                only(cost)
            }
            ("validate", _, [text]) => {
                let looks = self.size_or_unknown(text).scaled(PER_CHARACTER);
                only(looks.scaled(MAX_FORMAT_PATTERN * PER_PATTERN))
            }
            ("_==_", None, [a, b]) if self.checked.type_of(a) == self.checked.type_of(b) => {
                match self.checked.type_of(a).name() {
                    "net.IP" | "net.CIDR" | "kubernetes.Quantity" | "kubernetes.Semver" | "kubernetes.URL" => {
                        only(Range::fixed(1))
                    }
                    "kubernetes.NamedFormat" => only(Range { min: 1, max: 7 }),
                    name if name.starts_with("kubernetes.authorization.") => only(Range::fixed(1)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// How long a text may be after a replacement.
fn replaced(text: Range, old: Range, new: Range) -> Range {
    let (mut most, mut kept_most) = (0, 0);
    if old.min == 0 {
        most = text.max.saturating_add(1);
        kept_most = text.max;
    } else if new.max <= old.min {
        kept_most = text.max;
    } else {
        most = (text.max as f64 / old.min as f64).ceil() as u64;
    }
    let (mut fewest, mut kept_fewest) = (0, 0);
    if old.max == 0 {
        fewest = text.min.saturating_add(1);
        kept_fewest = text.min;
    } else if old.max <= new.min {
        kept_fewest = text.min;
    } else {
        fewest = (text.min as f64 / old.max as f64).ceil() as u64;
    }
    Range { min: fewest, max: most }.times(new).plus(Range {
        min: kept_fewest,
        max: kept_most,
    })
}
