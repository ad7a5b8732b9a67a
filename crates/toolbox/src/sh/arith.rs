//! Arithmetic of `$((...))` and `((...))`: C's operators on 64-bit integers that wrap.

/// Where variables live.
pub(super) trait Scope {
    fn get(&self, name: &str) -> Option<String>;
    fn set(&mut self, name: &str, value: i64) -> Result<(), String>;
}

/// Evaluates an expression; empty is 0.
pub(super) fn evaluate(text: &str, scope: &mut dyn Scope) -> Result<i64, String> {
    evaluate_at(text, scope, 0)
}

fn evaluate_at(text: &str, scope: &mut dyn Scope, depth: usize) -> Result<i64, String> {
    if depth > 64 {
        return Err("arithmetic: expression recursion".to_owned());
    }
    let mut eval = Eval {
        text: text.as_bytes(),
        pos: 0,
        scope,
        depth,
        skip: 0,
    };
    eval.blanks();
    if eval.pos == eval.text.len() {
        return Ok(0);
    }
    let value = eval.comma()?;
    eval.blanks();
    if eval.pos < eval.text.len() {
        return Err(format!(
            "arithmetic syntax error near \"{}\"",
            &text[eval.pos.min(text.len())..]
        ));
    }
    Ok(value)
}

struct Eval<'a> {
    text: &'a [u8],
    pos: usize,
    scope: &'a mut dyn Scope,
    depth: usize,
    /// Above 0 inside the branch not taken: nothing is assigned or divided.
    skip: usize,
}

/// Binary operators with their precedence, longest first.
const BINARY: &[(&str, u8)] = &[
    ("||", 1),
    ("&&", 2),
    ("==", 6),
    ("!=", 6),
    ("<=", 7),
    (">=", 7),
    ("<<", 8),
    (">>", 8),
    ("**", 11),
    ("|", 3),
    ("^", 4),
    ("&", 5),
    ("<", 7),
    (">", 7),
    ("+", 9),
    ("-", 9),
    ("*", 10),
    ("/", 10),
    ("%", 10),
];

/// Assignment operators, longest first.
const ASSIGN: &[&str] = &["<<=", ">>=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "="];

impl Eval<'_> {
    fn blanks(&mut self) {
        while self.text.get(self.pos).is_some_and(u8::is_ascii_whitespace) {
            self.pos += 1;
        }
    }

    fn at(&self, op: &str) -> bool {
        self.text[self.pos.min(self.text.len())..].starts_with(op.as_bytes())
    }

    fn eat(&mut self, op: &str) -> bool {
        self.blanks();
        let found = self.at(op);
        if found {
            self.pos += op.len();
        }
        found
    }

    fn comma(&mut self) -> Result<i64, String> {
        let mut value = self.assignment()?;
        while self.eat(",") {
            value = self.assignment()?;
        }
        Ok(value)
    }

    fn assignment(&mut self) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > 128 {
            return Err("arithmetic: nested too deeply".to_owned());
        }
        let result = self.assignment_or_ternary();
        self.depth -= 1;
        result
    }

    fn assignment_or_ternary(&mut self) -> Result<i64, String> {
        self.blanks();
        let start = self.pos;
        if let Some(name) = self.name() {
            self.blanks();
            let op = ASSIGN.iter().find(|op| self.at(op) && !(**op == "=" && self.at("==")));
            if let Some(op) = op {
                self.pos += op.len();
                let right = self.assignment()?;
                let value = if *op == "=" {
                    right
                } else {
                    let left = self.value_of(&name)?;
                    self.apply(&op[..op.len() - 1], left, right)?
                };
                return self.store(&name, value);
            }
            self.pos = start;
        }
        let condition = self.binary(1)?;
        if !self.eat("?") {
            return Ok(condition);
        }
        self.skip += usize::from(condition == 0);
        let yes = self.assignment()?;
        self.skip -= usize::from(condition == 0);
        if !self.eat(":") {
            return Err("arithmetic syntax error: ':' expected".to_owned());
        }
        self.skip += usize::from(condition != 0);
        let no = self.assignment()?;
        self.skip -= usize::from(condition != 0);
        Ok(if condition != 0 { yes } else { no })
    }

    fn store(&mut self, name: &str, value: i64) -> Result<i64, String> {
        if self.skip == 0 {
            self.scope.set(name, value)?;
        }
        Ok(value)
    }

    fn binary(&mut self, least: u8) -> Result<i64, String> {
        let mut left = self.unary()?;
        loop {
            self.blanks();
            let found = BINARY.iter().find(|(op, _)| self.at(op));
            let Some((op, precedence)) = found.copied() else {
                return Ok(left);
            };
            // `a += b` is not `a + =b`.
            let assigns = self.text.get(self.pos + op.len()) == Some(&b'=') && !matches!(op, "==" | "!=" | "<=" | ">=");
            if precedence < least || (assigns && self.text.get(self.pos + op.len() + 1) != Some(&b'=')) {
                return Ok(left);
            }
            self.pos += op.len();
            let lazy = (op == "&&" && left == 0) || (op == "||" && left != 0);
            self.skip += usize::from(lazy);
            let right = self.binary(if op == "**" { precedence } else { precedence + 1 })?;
            self.skip -= usize::from(lazy);
            left = self.apply(op, left, right)?;
        }
    }

    fn apply(&self, op: &str, a: i64, b: i64) -> Result<i64, String> {
        Ok(match op {
            "||" => i64::from(a != 0 || b != 0),
            "&&" => i64::from(a != 0 && b != 0),
            "|" => a | b,
            "^" => a ^ b,
            "&" => a & b,
            "==" => i64::from(a == b),
            "!=" => i64::from(a != b),
            "<=" => i64::from(a <= b),
            ">=" => i64::from(a >= b),
            "<" => i64::from(a < b),
            ">" => i64::from(a > b),
            "<<" => a.wrapping_shl((b & 63) as u32),
            ">>" => a.wrapping_shr((b & 63) as u32),
            "+" => a.wrapping_add(b),
            "-" => a.wrapping_sub(b),
            "*" => a.wrapping_mul(b),
            "/" | "%" if b == 0 => {
                if self.skip > 0 {
                    return Ok(0);
                }
                return Err("divide by zero".to_owned());
            }
            "/" => a.wrapping_div(b),
            "%" => a.wrapping_rem(b),
            _ => a.wrapping_pow(u32::try_from(b).map_err(|_| "exponent less than 0".to_owned())?),
        })
    }

    fn unary(&mut self) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > 128 {
            return Err("arithmetic: nested too deeply".to_owned());
        }
        let result = self.unary_inner();
        self.depth -= 1;
        result
    }

    fn unary_inner(&mut self) -> Result<i64, String> {
        self.blanks();
        for (op, step) in [("++", 1), ("--", -1)] {
            if self.at(op) {
                let start = self.pos;
                self.pos += 2;
                self.blanks();
                if let Some(name) = self.name() {
                    let value = self.value_of(&name)?.wrapping_add(step);
                    return self.store(&name, value);
                }
                self.pos = start;
            }
        }
        if self.eat("!") {
            return Ok(i64::from(self.unary()? == 0));
        }
        if self.eat("~") {
            return Ok(!self.unary()?);
        }
        if self.eat("-") {
            return Ok(self.unary()?.wrapping_neg());
        }
        if self.eat("+") {
            return self.unary();
        }
        if self.eat("(") {
            let value = self.comma()?;
            if !self.eat(")") {
                return Err("arithmetic syntax error: ')' expected".to_owned());
            }
            return Ok(value);
        }
        if let Some(name) = self.name() {
            let value = self.value_of(&name)?;
            for (op, step) in [("++", 1), ("--", -1)] {
                if self.eat(op) {
                    self.store(&name, value.wrapping_add(step))?;
                }
            }
            return Ok(value);
        }
        self.number()
    }

    fn name(&mut self) -> Option<String> {
        let rest = &self.text[self.pos.min(self.text.len())..];
        if !rest.first().is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_') {
            return None;
        }
        let n = rest
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || **c == b'_')
            .count();
        self.pos += n;
        Some(String::from_utf8_lossy(&rest[..n]).into_owned())
    }

    fn value_of(&mut self, name: &str) -> Result<i64, String> {
        let Some(text) = self.scope.get(name) else { return Ok(0) };
        match text.trim().parse() {
            Ok(value) => Ok(value),
            Err(_) => evaluate_at(&text, self.scope, self.depth + 1),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let rest = &self.text[self.pos.min(self.text.len())..];
        let n = rest
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || **c == b'#')
            .count();
        let text = std::str::from_utf8(&rest[..n]).unwrap_or("");
        let parsed = if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            i64::from_str_radix(hex, 16).ok()
        } else if let Some((base, digits)) = text.split_once('#') {
            base.parse()
                .ok()
                .filter(|b| (2..=36).contains(b))
                .and_then(|b| i64::from_str_radix(digits, b).ok())
        } else if text.len() > 1 && text.starts_with('0') {
            i64::from_str_radix(text, 8).ok()
        } else {
            text.parse().ok()
        };
        self.pos += n;
        parsed.ok_or_else(|| "arithmetic syntax error".to_owned())
    }
}
