//! The Common Expression Language as Kubernetes has it: parsed, type-checked, estimated, and evaluated with counted cost.
//! <https://kubernetes.io/docs/reference/using-api/cel/>
//!
//! An [`Env`] says what expressions may refer to, [`Env::compile`] makes a [`Program`] of a text, [`Program::eval`] runs
//! it on values that are looked at where they lie. Hostile expressions end by their cost, hostile nesting by its depth;
//! no clock decides anything.

mod ast;
mod checker;
mod cost;
mod decl;
mod env;
mod eval;
mod functions;
mod lexer;
mod library;
mod macros;
mod parser;
mod plan;
mod source;
mod types;
mod validate;
mod value;

#[cfg(test)]
mod tests;

pub use cost::Range;
pub use decl::{DeclType, ListKind, escape};
pub use env::{Activation, Bindings, Budget, CompileError, Env, OldSelf, PER_CALL_LIMIT, Program};
pub use lexer::is_identifier;
pub use library::authz::{Authorizer, Decision, Question};
pub use library::time::Timestamp;
pub use source::{Issue, Issues};
pub use types::Type;
pub use value::{Entries, EvalError, List, Map, Object, Str, Val};
