//! Macros: calls that become folds, bindings and presence tests while they are parsed.

use std::sync::Arc;

use crate::ast::{ACCUMULATOR, Expr, Fold, Kind, Literal};
use crate::parser::{Abort, Parser};

type Step<T> = Result<T, Abort>;

/// The name `sortBy` gives to what it sorts.
const SORT_INPUT: &str = "@__sortBy_input__";
/// The variable of a binding's empty loop.
const UNUSED: &str = "#unused";

/// `name(args)`, or what it expands to.
pub(crate) fn global_call(parser: &mut Parser, offset: u32, name: &str, args: Vec<Expr>) -> Step<Expr> {
    if name != "has" || args.len() != 1 {
        return parser.call(offset, name, args);
    }
    match args.into_iter().next().map(|arg| (parser.offset_of(&arg), arg.kind)) {
        Some((_, Kind::Select { operand, field, .. })) => parser.node(
            offset,
            Kind::Select {
                operand,
                field,
                test_only: true,
            },
        ),
        other => {
            parser.report(other.map_or(offset, |(at, _)| at), "invalid argument to has() macro");
            parser.literal(offset, Literal::Bool(false))
        }
    }
}

/// `target.name(args)`, or what it expands to.
pub(crate) fn member_call(parser: &mut Parser, offset: u32, target: Expr, name: &str, args: Vec<Expr>) -> Step<Expr> {
    let mut expansion = Expansion { parser, offset };
    let two = matches!((name, args.len()), ("all" | "exists" | "existsOne" | "exists_one", 3))
        || matches!(
            (name, args.len()),
            ("transformList" | "transformMap" | "transformMapEntry", 3 | 4)
        );
    let one = matches!(
        (name, args.len()),
        ("all" | "exists" | "exists_one" | "filter" | "map", 2) | ("map", 3)
    );
    if one || two {
        return expansion.fold(target, name, args, two);
    }
    match (name, args.len()) {
        ("optMap" | "optFlatMap", 2) => expansion.optional(target, name, args),
        ("sortBy", 2) => expansion.sort_by(target, args),
        _ => parser.node(
            offset,
            Kind::Call {
                target: Some(Box::new(target)),
                function: name.into(),
                args,
            },
        ),
    }
}

struct Expansion<'p> {
    parser: &'p mut Parser,
    offset: u32,
}

impl Expansion<'_> {
    fn call(&mut self, function: &str, args: Vec<Expr>) -> Step<Expr> {
        self.parser.call(self.offset, function, args)
    }

    fn member(&mut self, target: Expr, function: &str, args: Vec<Expr>) -> Step<Expr> {
        let target = Some(Box::new(target));
        self.parser.node(
            self.offset,
            Kind::Call {
                target,
                function: function.into(),
                args,
            },
        )
    }

    fn literal(&mut self, literal: Literal) -> Step<Expr> {
        self.parser.literal(self.offset, literal)
    }

    fn ident(&mut self, name: &str) -> Step<Expr> {
        self.parser.ident(self.offset, &name.into())
    }

    fn list(&mut self, elements: Vec<Expr>) -> Step<Expr> {
        self.parser.node(
            self.offset,
            Kind::List {
                elements,
                optional: Vec::new(),
            },
        )
    }

    fn accumulator(&mut self) -> Step<Expr> {
        self.ident(ACCUMULATOR)
    }

    /// The name in a place where a variable is declared.
    fn variable(&mut self, expr: &Expr, complaint: &str) -> Arc<str> {
        let at = self.parser.offset_of(expr);
        match &expr.kind {
            Kind::Ident(name) => {
                if &**name == "__result__" {
                    self.parser
                        .report(at, "iteration variable overwrites accumulator variable");
                }
                name.clone()
            }
            _ => {
                self.parser.report(at, complaint);
                UNUSED.into()
            }
        }
    }

    fn fold(&mut self, range: Expr, name: &str, args: Vec<Expr>, two: bool) -> Step<Expr> {
        let mut args = args.into_iter();
        let mut next = || args.next().ok_or(Abort);
        let complaint = match name {
            "map" | "filter" => "argument is not an identifier",
            _ => "argument must be a simple name",
        };
        let first = next()?;
        let variable = self.variable(&first, complaint);
        let second = if two {
            let expr = next()?;
            let second = self.variable(&expr, complaint);
            if second == variable {
                let at = self.parser.offset_of(&expr);
                self.parser.report(at, format!("duplicate variable name: {second}"));
            }
            Some(second)
        } else {
            None
        };
        let body = next()?;
        let last = args.next();
        let (init, condition, step, result) = match name {
            "all" => {
                let init = self.literal(Literal::Bool(true))?;
                let accumulator = self.accumulator()?;
                let condition = self.call("@not_strictly_false", vec![accumulator])?;
                let accumulator = self.accumulator()?;
                let step = self.call("_&&_", vec![accumulator, body])?;
                (init, condition, step, self.accumulator()?)
            }
            "exists" => {
                let init = self.literal(Literal::Bool(false))?;
                let accumulator = self.accumulator()?;
                let not = self.call("!_", vec![accumulator])?;
                let condition = self.call("@not_strictly_false", vec![not])?;
                let accumulator = self.accumulator()?;
                let step = self.call("_||_", vec![accumulator, body])?;
                (init, condition, step, self.accumulator()?)
            }
            "exists_one" | "existsOne" => {
                let init = self.literal(Literal::Int(0))?;
                let condition = self.literal(Literal::Bool(true))?;
                let (accumulator, one) = (self.accumulator()?, self.literal(Literal::Int(1))?);
                let more = self.call("_+_", vec![accumulator, one])?;
                let accumulator = self.accumulator()?;
                let step = self.call("_?_:_", vec![body, more, accumulator])?;
                let (accumulator, one) = (self.accumulator()?, self.literal(Literal::Int(1))?);
                (init, condition, step, self.call("_==_", vec![accumulator, one])?)
            }
            "transformMap" | "transformMapEntry" => {
                let init = self.parser.node(self.offset, Kind::Map(Vec::new()))?;
                let condition = self.literal(Literal::Bool(true))?;
                let (filter, transform) = split(body, last);
                let mut args = vec![self.accumulator()?];
                if name == "transformMap" {
                    args.push(self.ident(&variable)?);
                }
                args.push(transform);
                let step = self.call("cel.@mapInsert", args)?;
                let step = self.filtered(filter, step)?;
                (init, condition, step, self.accumulator()?)
            }
            // map, filter, transformList
            _ => {
                let init = self.list(Vec::new())?;
                let condition = self.literal(Literal::Bool(true))?;
                let (filter, transform) = if name == "filter" {
                    let itself = self.parser.ident(self.offset, &variable)?;
                    (Some(body), itself)
                } else {
                    split(body, last)
                };
                let element = self.list(vec![transform])?;
                let accumulator = self.accumulator()?;
                let step = self.call("_+_", vec![accumulator, element])?;
                let step = self.filtered(filter, step)?;
                (init, condition, step, self.accumulator()?)
            }
        };
        let accumulator = ACCUMULATOR.into();
        let fold = Fold {
            range,
            variable,
            second,
            accumulator,
            init,
            condition,
            step,
            result,
        };
        self.parser.node(self.offset, Kind::Fold(Box::new(fold)))
    }

    fn filtered(&mut self, filter: Option<Expr>, step: Expr) -> Step<Expr> {
        let Some(filter) = filter else { return Ok(step) };
        let accumulator = self.accumulator()?;
        self.call("_?_:_", vec![filter, step, accumulator])
    }

    /// `variable` stands for `value` within `result`.
    fn binding(&mut self, variable: &Arc<str>, value: Expr, result: Expr) -> Step<Expr> {
        let fold = Fold {
            range: self.list(Vec::new())?,
            variable: UNUSED.into(),
            second: None,
            accumulator: variable.clone(),
            init: value,
            condition: self.literal(Literal::Bool(false))?,
            step: self.parser.ident(self.offset, variable)?,
            result,
        };
        self.parser.node(self.offset, Kind::Fold(Box::new(fold)))
    }

    fn optional(&mut self, target: Expr, name: &str, args: Vec<Expr>) -> Step<Expr> {
        let mut args = args.into_iter();
        let (variable, body) = (args.next().ok_or(Abort)?, args.next().ok_or(Abort)?);
        let complaint = format!("{name}() variable name must be a simple identifier");
        let variable = self.variable(&variable, &complaint);
        let copy = self.parser.copy(&target);
        let has = self.member(target, "hasValue", Vec::new())?;
        let value = self.member(copy, "value", Vec::new())?;
        let mut mapped = self.binding(&variable, value, body)?;
        if name == "optMap" {
            mapped = self.call("optional.of", vec![mapped])?;
        }
        let none = self.call("optional.none", Vec::new())?;
        self.call("_?_:_", vec![has, mapped, none])
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Step<Expr> {
        if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
            let at = self.parser.offset_of(&target);
            self.parser.report(
                at,
                "sortBy can only be applied to a list, identifier, comprehension, call or select expression",
            );
        }
        let input = self.ident(SORT_INPUT)?;
        let keys = self.fold(input, "map", args, false)?;
        let input = self.ident(SORT_INPUT)?;
        let sorted = self.member(input, "@sortByAssociatedKeys", vec![keys])?;
        self.binding(&SORT_INPUT.into(), target, sorted)
    }
}

/// The filter, if there are both, and the transformation.
fn split(first: Expr, second: Option<Expr>) -> (Option<Expr>, Expr) {
    match second {
        Some(second) => (Some(first), second),
        None => (None, first),
    }
}
