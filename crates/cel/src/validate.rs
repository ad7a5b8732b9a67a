//! What is wrong although it has a type: literals that no function takes, and lists of a bit of everything.

use crate::ast::{Expr, Kind, Literal};
use crate::checker::Checked;
use crate::library::pattern;
use crate::library::time::{Timestamp, parse_duration};
use crate::source::Issues;
use crate::types::Type;

pub(crate) fn validate(expr: &Expr, checked: &Checked, offsets: &[u32], issues: &mut Issues) {
    let mut report = |expr: &Expr, message: String| issues.report(offsets[expr.id as usize], message);
    expr.walk(&mut |node| {
        let Kind::Call { function, args, .. } = &node.kind else {
            return;
        };
        let Some(Kind::Literal(literal)) = args.first().map(|arg| &arg.kind) else {
            return;
        };
        let good = match (&**function, literal) {
            ("duration", Literal::String(text)) => parse_duration(text).is_some(),
            ("timestamp", Literal::String(text)) => Timestamp::parse(text).is_some(),
            ("timestamp", Literal::Int(seconds)) => Timestamp::new(*seconds, 0).is_some(),
            ("matches", Literal::String(text)) => pattern::compile(text).is_ok(),
            _ => true,
        };
        if !good {
            report(&args[0], format!("invalid {function} argument"));
        }
    });
    homogeneous(expr, checked, &mut report);
}

/// Literals hold values of one type; only `format` takes anything.
fn homogeneous(expr: &Expr, checked: &Checked, report: &mut dyn FnMut(&Expr, String)) {
    if matches!(&expr.kind, Kind::Call { function, .. } if &**function == "format") {
        return;
    }
    let held = |expr: &Expr, optional: bool| -> Type {
        let ty = checked.type_of(expr);
        match ty.optional_parameter() {
            Some(inner) if optional => inner.clone(),
            _ => ty.clone(),
        }
    };
    let mut differs = |first: &mut Option<Type>, next: Type, at: &Expr| -> bool {
        match first {
            None => *first = Some(next),
            Some(first) if *first == next => {}
            Some(first) => {
                report(at, format!("expected type '{first}' but found '{next}'"));
                return true;
            }
        }
        false
    };
    match &expr.kind {
        Kind::List { elements, optional } => {
            let mut first = None;
            for (at, element) in elements.iter().enumerate() {
                if differs(&mut first, held(element, optional.contains(&at)), element) {
                    break;
                }
            }
        }
        Kind::Map(entries) => {
            let (mut key, mut value) = (None, None);
            for entry in entries {
                differs(&mut key, held(&entry.key, false), &entry.key);
                differs(&mut value, held(&entry.value, entry.optional), &entry.value);
            }
        }
        _ => {}
    }
    expr.children(&mut |child| homogeneous(child, checked, report));
}
