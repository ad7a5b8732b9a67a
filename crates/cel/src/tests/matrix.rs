//! Expressions of the whole language and of Kubernetes' libraries, against what they must come to.

use crate::{Bindings, Budget, CompileError, Env, EvalError, Val};

const MATRIX: &str = include_str!("matrix.tsv");

/// Expressions that do not come to what they must, yet. None.
const UNEQUAL: [&str; 0] = [];

/// What the expression comes to, in the form of the table.
fn outcome(env: &Env, text: &str) -> String {
    let program = match env.compile(text) {
        Ok(program) => program,
        Err(CompileError::Issues(issues)) => {
            return format!(
                "compile\t{}",
                issues.to_string().replace('\\', "\\\\").replace('\n', "\\n")
            );
        }
        Err(CompileError::Program(message)) => return format!("program\t{message}"),
    };
    let estimate = env.estimate_plainly(&program);
    let mut budget = Budget::new(Budget::OBJECT);
    let result = program.eval(&Bindings::new(), &mut budget);
    let cost = Budget::OBJECT - budget.remaining();
    let shown = match result {
        Ok(Val::Bool(value)) => format!("value\t{value}"),
        Ok(other) => format!("value\t{other}"),
        Err(EvalError::Failed(message)) => format!("error\t{message}"),
        Err(other) => format!("error\t{other}"),
    };
    format!("{shown}\t{cost}\t{}\t{}", estimate.min, estimate.max)
}

#[test]
fn every_expression_of_the_matrix_comes_to_what_it_must() {
    let env = Env::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in MATRIX.lines().filter(|line| !line.starts_with('#')) {
        let (text, expected) = line.split_once('\t').expect("a line has a text and an outcome");
        count += 1;
        let found = outcome(&env, text);
        if found != expected && !UNEQUAL.contains(&text) {
            wrong.push(format!("{text}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(count > 250, "the table is there: {count}");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

/// The expressions alone.
pub(super) fn texts() -> impl Iterator<Item = &'static str> {
    MATRIX
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once('\t')?.0))
}
