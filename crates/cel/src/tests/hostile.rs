//! Expressions that mean harm.

use crate::{Bindings, Budget, CompileError, Env, EvalError};

fn run(text: &str) -> Result<String, EvalError> {
    let program = match Env::new().compile(text) {
        Ok(program) => program,
        Err(error) => panic!("{}: {error}", &text[..text.len().min(80)]),
    };
    program
        .eval(&Bindings::new(), &mut Budget::new(Budget::OBJECT))
        .map(|value| value.to_string())
}

fn refused(text: &str) -> String {
    match Env::new().compile(text) {
        Err(CompileError::Issues(issues)) => issues.to_string(),
        other => panic!("{}: {other:?}", &text[..text.len().min(80)]),
    }
}

#[test]
fn loops_within_loops_end_by_their_cost() {
    let list = "lists.range(200)";
    let text = format!("{list}.all(a, {list}.all(b, {list}.all(c, a + b + c >= 0)))");
    assert_eq!(run(&text), Err(EvalError::CallCost));
}

#[test]
fn nothing_absorbs_the_limit() {
    let text = "true || lists.range(100000).all(x, lists.range(100).all(y, y >= 0))";
    assert_eq!(run(text), Ok("true".into()));
    let text = "lists.range(100000).all(x, lists.range(100).all(y, y >= 0)) || true";
    assert_eq!(run(text), Err(EvalError::CallCost));
}

#[test]
fn a_spent_budget_ends_the_object() {
    let program = Env::new()
        .compile("lists.range(100).all(x, x >= 0)")
        .expect("it compiles");
    let mut budget = Budget::new(100);
    assert_eq!(
        program.eval(&Bindings::new(), &mut budget).map(|_| ()),
        Err(EvalError::Budget)
    );
    assert_eq!(budget.remaining(), 0);
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let limit = "ERROR: <input>:-1:0: expression recursion limit exceeded: 250";
    for text in [
        format!("{}1{}", "(".repeat(50_000), ")".repeat(49_999)),
        format!("{}1{}", "[".repeat(1000), "]".repeat(1000)),
        format!("{}1{}", "{1:".repeat(1000), "}".repeat(1000)),
        format!("x{}", ".a".repeat(10_000)),
        format!("x{}", "[0]".repeat(10_000)),
        format!("1{}", "+1".repeat(10_000)),
        format!("{}true", "true ? true : ".repeat(5000)),
        format!("{}1", "x.f(".repeat(5000)),
    ] {
        let text = refused(&text);
        assert!(text.starts_with(limit), "{}", &text[..text.len().min(200)]);
    }
    // What is flat is fine, however long.
    assert_eq!(run(&format!("true{}", " && true".repeat(9000))), Ok("true".into()));
    assert_eq!(run(&format!("{}1", "-".repeat(9000))), Ok("1".into()));
    let deepest = format!("{}1{}", "[".repeat(240), "]".repeat(240));
    assert_eq!(run(&format!("{deepest} == {deepest}")), Ok("true".into()));
}

#[test]
fn long_expressions_are_refused() {
    assert!(refused(&" ".repeat(100_001)).contains("expression code point size exceeds limit: size: 100001"));
}

#[test]
fn types_that_double_with_each_step_are_refused() {
    let text = format!("[1]{}", ".map(a, {a: a})".repeat(30));
    assert!(refused(&text).contains("too large"));
}

#[test]
fn texts_cannot_fill_the_memory() {
    let text = format!(
        "'aaaaaaaaaaaaaaaaaaaa'{}.size()",
        ".replace('', 'aaaaaaaaaaaaaaaaaaaa')".repeat(12)
    );
    assert_eq!(run(&text), Err(EvalError::CallCost));
    assert_eq!(
        run("lists.range(9000000).size() > 0"),
        Err(EvalError::CallCost),
        "before it is made"
    );
    // One step that costs more than everything may cost spends the budget, too. It is not even begun.
    assert_eq!(run("lists.range(60000).distinct().size()"), Err(EvalError::Budget));
    let long = run("'%.100000f'.format([1.0])").expect_err("no such precision");
    assert!(long.to_string().contains("exceeds maximum"), "{long}");
}

#[test]
fn changed_expressions_never_panic() {
    let seeds: Vec<&str> = super::matrix::texts().collect();
    // A generator that gives the same numbers always.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let pieces = [
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        ",",
        "?",
        ":",
        "'",
        "\"",
        "`",
        "\\",
        "-",
        "!",
        "&&",
        "||",
        "==",
        "in",
        "1",
        "0u",
        "1e9",
        "x",
        "has(",
        ".all(x,",
        ".map(",
        ".?",
        "[?",
        "é",
        "\n",
        "r'",
        "b\"",
        "//",
        "9223372036854775807",
        "\\x",
        "Object{",
    ];
    let env = Env::admission(true, true).with_patches();
    for _ in 0..6000 {
        let mut text: Vec<char> = seeds[random(seeds.len())].chars().collect();
        for _ in 0..=random(4) {
            let at = random(text.len() + 1);
            match random(4) {
                0 => {
                    let until = (at + 1 + random(6)).min(text.len());
                    text.drain(at.min(until)..until);
                }
                1 => {
                    let piece = pieces[random(pieces.len())];
                    text.splice(at..at, piece.chars());
                }
                2 => {
                    let other: Vec<char> = seeds[random(seeds.len())].chars().collect();
                    let from = random(other.len());
                    let until = (from + random(12)).min(other.len());
                    text.splice(at..at, other[from..until].iter().copied());
                }
                _ => {
                    let at = at.min(text.len().saturating_sub(1));
                    if !text.is_empty() {
                        text.swap(at, 0);
                    }
                }
            }
            if text.is_empty() {
                text.push('1');
            }
        }
        let text: String = text.into_iter().collect();
        match env.compile(&text) {
            Ok(program) => {
                env.estimate(&program);
                let _ = program.eval(&Bindings::new(), &mut Budget::new(Budget::OBJECT));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
