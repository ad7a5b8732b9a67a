//! Tokens to a syntax tree, by precedence climbing. Macros are expanded on the way (see [`crate::macros`]).
//!
//! Messages are those of the reference implementation, whose users search for them; so is the way to go on after an
//! error, where that is simple.

use std::sync::Arc;

use crate::ast::{Entry, Expr, FieldInit, Kind, Literal};
use crate::lexer::{self, Lexeme, Token};
use crate::macros;
use crate::source::Issues;

/// Nodes below nodes. Keeps every recursion over the tree within a thread's stack.
const MAX_DEPTH: u16 = 250;
/// Characters of an expression.
const MAX_SIZE: usize = 100_000;

const OPERAND: &str = "'-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// A parsed expression.
pub(crate) struct Parsed {
    pub expr: Expr,
    /// Where each node is, by its number.
    pub offsets: Vec<u32>,
}

/// Reading cannot go on; why is among the issues.
pub(crate) struct Abort;

type Step<T> = Result<T, Abort>;

pub(crate) fn parse(text: &str) -> Result<Parsed, Issues> {
    let mut issues = Issues::new(text);
    let size = text.chars().count();
    if size > MAX_SIZE {
        issues.report_whole(format!(
            "expression code point size exceeds limit: size: {size}, limit {MAX_SIZE}"
        ));
        return Err(issues);
    }
    let lexemes = lexer::lex(text, &mut issues);
    let mut parser = Parser {
        lexemes,
        at: 0,
        offsets: Vec::new(),
        depths: Vec::new(),
        nesting: 0,
        issues,
        recovering: false,
    };
    let expr = parser.whole();
    match expr {
        Ok(expr) if parser.issues.is_empty() => Ok(Parsed {
            expr,
            offsets: parser.offsets,
        }),
        _ => Err(parser.issues),
    }
}

pub(crate) struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
    offsets: Vec<u32>,
    depths: Vec<u16>,
    nesting: u16,
    issues: Issues,
    /// After an error nothing is reported until a token fits again.
    recovering: bool,
}

impl Parser {
    fn whole(&mut self) -> Step<Expr> {
        let expr = self.expr()?;
        if !self.is_end() {
            self.unexpected("<EOF>", |token| *token == Token::End);
        }
        Ok(expr)
    }

    // Tokens.

    fn token(&self) -> &Token {
        &self.lexemes[self.at].token
    }

    fn next_token(&self) -> &Token {
        &self.lexemes[(self.at + 1).min(self.lexemes.len() - 1)].token
    }

    fn is_end(&self) -> bool {
        *self.token() == Token::End
    }

    fn offset(&self) -> u32 {
        self.lexemes[self.at].offset
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.token(), Token::Symbol(found) if *found == symbol)
    }

    /// Goes past the current token; its place.
    fn consume(&mut self) -> u32 {
        let offset = self.offset();
        self.recovering = false;
        if !self.is_end() {
            self.at += 1;
        }
        offset
    }

    fn accept(&mut self, symbol: &str) -> Option<u32> {
        self.is(symbol).then(|| self.consume())
    }

    fn text(&self) -> String {
        self.lexemes[self.at].text.clone()
    }

    // Errors.

    pub(crate) fn report(&mut self, offset: u32, message: impl Into<String>) {
        self.issues.report(offset, message);
    }

    fn syntax(&mut self, message: String) {
        if !self.recovering {
            self.issues.report(self.offset(), format!("Syntax error: {message}"));
        }
        self.recovering = true;
    }

    /// Reports the current token. If leaving it out mends the text, it is left out: true.
    fn unexpected(&mut self, expected: &str, fits: impl Fn(&Token) -> bool) -> bool {
        let text = self.text();
        if !self.is_end() && fits(self.next_token()) {
            self.syntax(format!("extraneous input '{text}' expecting {expected}"));
            self.at += 1;
            return true;
        }
        self.syntax(format!("mismatched input '{text}' expecting {expected}"));
        false
    }

    /// Goes past a symbol that must be there.
    fn expect(&mut self, symbol: &'static str, expected: &str) -> Step<u32> {
        if self.is(symbol) {
            return Ok(self.consume());
        }
        // A missing bracket at the end is said to be missing.
        if self.is_end() && symbol == ")" && expected == "')'" {
            self.syntax("missing ')' at '<EOF>'".into());
            return Err(Abort);
        }
        if self.unexpected(expected, |token| *token == Token::Symbol(symbol)) {
            return Ok(self.consume());
        }
        Err(Abort)
    }

    fn too_deep(&mut self) -> Abort {
        self.issues
            .report_whole(format!("expression recursion limit exceeded: {MAX_DEPTH}"));
        Abort
    }

    // Nodes.

    /// A node at a place.
    pub(crate) fn node(&mut self, offset: u32, kind: Kind) -> Step<Expr> {
        let id = self.offsets.len() as u32;
        let expr = Expr { id, kind };
        let mut depth = 0;
        expr.children(&mut |child| depth = depth.max(self.depths[child.id as usize] + 1));
        self.offsets.push(offset);
        self.depths.push(depth);
        if depth > MAX_DEPTH {
            return Err(self.too_deep());
        }
        Ok(expr)
    }

    pub(crate) fn offset_of(&self, expr: &Expr) -> u32 {
        self.offsets[expr.id as usize]
    }

    /// The same expression with numbers of its own.
    pub(crate) fn copy(&mut self, expr: &Expr) -> Expr {
        let mut copy = expr.clone();
        self.renumber(&mut copy);
        copy
    }

    fn renumber(&mut self, expr: &mut Expr) {
        let old = expr.id as usize;
        expr.id = self.offsets.len() as u32;
        self.offsets.push(self.offsets[old]);
        self.depths.push(self.depths[old]);
        match &mut expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => self.renumber(operand),
            Kind::Call { target, args, .. } => {
                target.iter_mut().for_each(|target| self.renumber(target));
                args.iter_mut().for_each(|arg| self.renumber(arg));
            }
            Kind::List { elements, .. } => elements.iter_mut().for_each(|element| self.renumber(element)),
            Kind::Map(entries) => {
                for entry in entries {
                    self.renumber(&mut entry.key);
                    self.renumber(&mut entry.value);
                }
            }
            Kind::Struct { fields, .. } => fields.iter_mut().for_each(|field| self.renumber(&mut field.value)),
            Kind::Fold(fold) => {
                for part in [
                    &mut fold.range,
                    &mut fold.init,
                    &mut fold.condition,
                    &mut fold.step,
                    &mut fold.result,
                ] {
                    self.renumber(part);
                }
            }
        }
    }

    pub(crate) fn call(&mut self, offset: u32, function: &str, args: Vec<Expr>) -> Step<Expr> {
        self.node(
            offset,
            Kind::Call {
                target: None,
                function: function.into(),
                args,
            },
        )
    }

    pub(crate) fn literal(&mut self, offset: u32, literal: Literal) -> Step<Expr> {
        self.node(offset, Kind::Literal(literal))
    }

    // The grammar.

    fn expr(&mut self) -> Step<Expr> {
        self.nesting += 1;
        if self.nesting > MAX_DEPTH {
            return Err(self.too_deep());
        }
        let condition = self.binary(0)?;
        let result = match self.accept("?") {
            None => condition,
            Some(offset) => {
                let yes = self.binary(0)?;
                self.expect(":", "':'")?;
                let no = self.expr()?;
                self.call(offset, "_?_:_", vec![condition, yes, no])?
            }
        };
        self.nesting -= 1;
        Ok(result)
    }

    fn binary(&mut self, lowest: u8) -> Step<Expr> {
        let mut left = self.unary()?;
        // Chains of `&&` and `||` are one node, however long; what is in brackets stays a node of its own.
        let mut chain = None;
        while let Some((precedence, function)) = self.operator().filter(|(precedence, _)| *precedence >= lowest) {
            let offset = self.consume();
            let right = self.binary(precedence + 1)?;
            if let Kind::Call { args, .. } = &mut left.kind
                && chain == Some(function)
            {
                let depth = self.depths[right.id as usize] + 1;
                args.push(right);
                let own = &mut self.depths[left.id as usize];
                *own = depth.max(*own);
                if *own > MAX_DEPTH {
                    return Err(self.too_deep());
                }
                continue;
            }
            left = self.call(offset, function, vec![left, right])?;
            chain = matches!(function, "_&&_" | "_||_").then_some(function);
        }
        Ok(left)
    }

    fn operator(&self) -> Option<(u8, &'static str)> {
        let Token::Symbol(symbol) = self.token() else {
            return None;
        };
        Some(match *symbol {
            "||" => (0, "_||_"),
            "&&" => (1, "_&&_"),
            "<" => (2, "_<_"),
            "<=" => (2, "_<=_"),
            ">" => (2, "_>_"),
            ">=" => (2, "_>=_"),
            "==" => (2, "_==_"),
            "!=" => (2, "_!=_"),
            "in" => (2, "@in"),
            "+" => (3, "_+_"),
            "-" => (3, "_-_"),
            "*" => (4, "_*_"),
            "/" => (4, "_/_"),
            "%" => (4, "_%_"),
            _ => return None,
        })
    }

    fn unary(&mut self) -> Step<Expr> {
        for (symbol, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(symbol) || (symbol == "-" && matches!(self.next_token(), Token::Int | Token::Float)) {
                continue;
            }
            let offset = self.offset();
            let mut count = 0;
            while self.accept(symbol).is_some() {
                count += 1;
            }
            if !self.starts_operand() && symbol == "-" {
                let text = if self.is_end() { String::new() } else { self.text() };
                self.syntax(format!("no viable alternative at input '-{text}'"));
            }
            let operand = self.member()?;
            return if count % 2 == 0 {
                Ok(operand)
            } else {
                self.call(offset, function, vec![operand])
            };
        }
        self.member()
    }

    fn starts_operand(&self) -> bool {
        starts_operand(self.token())
    }

    fn member(&mut self) -> Step<Expr> {
        let mut expr = self.primary()?;
        loop {
            if self.is(".") {
                expr = self.dot(expr)?;
            } else if let Some(offset) = self.accept("[") {
                let optional = self.accept("?").is_some();
                let index = self.expr()?;
                self.expect("]", "']'")?;
                let function = if optional { "_[?_]" } else { "_[_]" };
                expr = self.call(offset, function, vec![expr, index])?;
            } else if self.is("{") && self.names_type(&expr) {
                expr = self.message(expr)?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn dot(&mut self, operand: Expr) -> Step<Expr> {
        let dot = self.consume();
        let optional = self.accept("?").is_some();
        let escaped = *self.token() == Token::EscapedIdent;
        if !escaped && *self.token() != Token::Ident {
            let text = if self.is_end() { String::new() } else { self.text() };
            self.syntax(format!("no viable alternative at input '.{text}'"));
            return Err(Abort);
        }
        let mut name = self.text();
        self.consume();
        if escaped {
            name = name[1..name.len() - 1].to_owned();
        } else if !optional && self.is("(") {
            let offset = self.consume();
            let args = self.arguments()?;
            return macros::member_call(self, offset, operand, &name, args);
        }
        if optional {
            let field = self.literal(dot, Literal::String(name.into()))?;
            return self.call(dot, "_?._", vec![operand, field]);
        }
        self.node(
            dot,
            Kind::Select {
                operand: Box::new(operand),
                field: name.into(),
                test_only: false,
            },
        )
    }

    /// After an opening bracket, to past the closing one.
    fn arguments(&mut self) -> Step<Vec<Expr>> {
        let mut args = Vec::new();
        if self.accept(")").is_some() {
            return Ok(args);
        }
        if !self.starts_operand() {
            let expected = format!("{{'[', '{{', '(', ')', '.', {OPERAND}");
            if !self.unexpected(&expected, |token| starts_operand(token) || *token == Token::Symbol(")")) {
                return Err(Abort);
            }
            if self.accept(")").is_some() {
                return Ok(args);
            }
        }
        loop {
            args.push(self.expr()?);
            if self.accept(",").is_none() {
                self.expect(")", "')'")?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Step<Expr> {
        if !self.starts_operand() {
            let expected = format!("{{'[', '{{', '(', '.', {OPERAND}");
            if !self.unexpected(&expected, starts_operand) {
                while !self.is_end() && !self.may_follow() {
                    self.at += 1;
                }
                return self.literal(0, Literal::Null);
            }
        }
        let offset = self.offset();
        let Token::Symbol(symbol) = *self.token() else {
            return self.word_or_value();
        };
        match symbol {
            "(" => {
                self.consume();
                let inner = self.expr()?;
                self.expect(")", "')'")?;
                Ok(inner)
            }
            "[" => self.list(),
            "{" => self.map(),
            "." => {
                self.consume();
                if *self.token() != Token::Ident {
                    let text = if self.is_end() { String::new() } else { self.text() };
                    self.syntax(format!("no viable alternative at input '.{text}'"));
                    return Err(Abort);
                }
                self.word_or_value()
            }
            "-" => {
                self.consume();
                let text = format!("-{}", self.text());
                let float = *self.token() == Token::Float;
                self.consume();
                self.number(offset, &text, float)
            }
            "true" | "false" => {
                self.consume();
                self.literal(offset, Literal::Bool(symbol == "true"))
            }
            _ => {
                self.consume();
                self.literal(offset, Literal::Null)
            }
        }
    }

    /// Whether the token can stand after an operand.
    fn may_follow(&self) -> bool {
        self.operator().is_some() || [")", "]", "}", ",", ":", "?"].iter().any(|symbol| self.is(symbol))
    }

    fn word_or_value(&mut self) -> Step<Expr> {
        let (token, text) = (self.token().clone(), self.text());
        let offset = self.consume();
        match token {
            Token::Int => self.number(offset, &text, false),
            Token::Float => self.number(offset, &text, true),
            Token::Uint => {
                let digits = &text[..text.len() - 1];
                let value = match digits.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => digits.parse(),
                };
                let value = value.unwrap_or_else(|_| {
                    self.report(offset, "invalid uint literal");
                    0
                });
                self.literal(offset, Literal::Uint(value))
            }
            Token::String => {
                let content = lexer::unquote(&text, false).and_then(|bytes| String::from_utf8(bytes).ok());
                let content = content.unwrap_or_else(|| {
                    self.report(offset, "invalid string literal");
                    String::new()
                });
                self.literal(offset, Literal::String(content.into()))
            }
            Token::Bytes => {
                let content = lexer::unquote(&text, true).unwrap_or_else(|| {
                    self.report(offset, "invalid bytes literal");
                    Vec::new()
                });
                self.literal(offset, Literal::Bytes(content.into()))
            }
            _ => {
                if lexer::RESERVED.contains(&text.as_str()) {
                    self.report(offset, format!("reserved identifier: {text}"));
                }
                if let Some(open) = self.accept("(") {
                    let args = self.arguments()?;
                    return macros::global_call(self, open, &text, args);
                }
                self.node(offset, Kind::Ident(text.into()))
            }
        }
    }

    fn number(&mut self, offset: u32, text: &str, float: bool) -> Step<Expr> {
        if float {
            let value = text
                .parse::<f64>()
                .ok()
                .filter(|value| value.is_finite())
                .unwrap_or_else(|| {
                    self.report(offset, "invalid double literal");
                    0.0
                });
            return self.literal(offset, Literal::Double(value));
        }
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
        let value = match digits.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16),
            None => text.parse(),
        };
        let value = value.unwrap_or_else(|_| {
            self.report(offset, "invalid int literal");
            0
        });
        self.literal(offset, Literal::Int(value))
    }

    fn list(&mut self) -> Step<Expr> {
        let offset = self.consume();
        let (mut elements, mut optional) = (Vec::new(), Vec::new());
        while !self.is("]") {
            if elements.is_empty() {
                if self.accept(",").is_some() {
                    break;
                }
                if !self.starts_operand() && !self.is("?") {
                    let expected = format!("{{'[', ']', '{{', '(', '.', ',', {}", with_question());
                    if !self.unexpected(&expected, starts_operand) {
                        return Err(Abort);
                    }
                }
            }
            if self.accept("?").is_some() {
                optional.push(elements.len());
            }
            elements.push(self.expr()?);
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect("]", if elements.is_empty() { "']'" } else { "{']', ','}" })?;
        self.node(offset, Kind::List { elements, optional })
    }

    fn map(&mut self) -> Step<Expr> {
        let offset = self.consume();
        let mut entries: Vec<Entry> = Vec::new();
        while !self.is("}") {
            if entries.is_empty() {
                if self.accept(",").is_some() {
                    break;
                }
                if !self.starts_operand() && !self.is("?") {
                    let expected = format!("{{'[', '{{', '}}', '(', '.', ',', {}", with_question());
                    if !self.unexpected(&expected, starts_operand) {
                        return Err(Abort);
                    }
                }
            }
            let optional = self.accept("?").is_some();
            let key = self.expr()?;
            self.expect(":", "':'")?;
            let value = self.expr()?;
            entries.push(Entry { key, value, optional });
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect("}", if entries.is_empty() { "'}'" } else { "{'}', ','}" })?;
        self.node(offset, Kind::Map(entries))
    }

    /// Whether the expression is a name with dots that was just read, so that `{` begins its fields.
    fn names_type(&self, expr: &Expr) -> bool {
        let before = self.lexemes.get(self.at.wrapping_sub(1));
        before.is_some_and(|before| before.token == Token::Ident) && qualified_name(expr).is_some()
    }

    fn message(&mut self, named: Expr) -> Step<Expr> {
        let offset = self.consume();
        let name = qualified_name(&named).unwrap_or_default();
        let mut fields = Vec::new();
        while !self.is("}") {
            if fields.is_empty() && self.accept(",").is_some() {
                break;
            }
            let optional = self.accept("?").is_some();
            let is_name = |token: &Token| matches!(token, Token::Ident | Token::EscapedIdent);
            if !is_name(self.token()) && !self.unexpected("{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}", is_name) {
                return Err(Abort);
            }
            let text = self.text();
            self.consume();
            let colon = self.expect(":", "':'")?;
            let value = self.expr()?;
            let id = self.literal(colon, Literal::Null)?.id;
            fields.push(FieldInit {
                id,
                name: text.trim_matches('`').into(),
                value,
                optional,
            });
            if self.accept(",").is_none() {
                break;
            }
        }
        self.expect("}", if fields.is_empty() { "'}'" } else { "{'}', ','}" })?;
        self.node(
            offset,
            Kind::Struct {
                name: name.into(),
                fields,
            },
        )
    }
}

fn with_question() -> String {
    OPERAND.replacen("'!', ", "'!', '?', ", 1)
}

fn starts_operand(token: &Token) -> bool {
    match token {
        Token::Symbol(symbol) => ["[", "{", "(", ".", "-", "!", "true", "false", "null"].contains(symbol),
        Token::EscapedIdent | Token::End => false,
        _ => true,
    }
}

/// `a.b.c` as text, if the expression is nothing else.
pub(crate) fn qualified_name(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.to_string()),
        Kind::Select {
            operand,
            field,
            test_only: false,
        } => Some(format!("{}.{field}", qualified_name(operand)?)),
        _ => None,
    }
}

impl Parser {
    pub(crate) fn ident(&mut self, offset: u32, name: &Arc<str>) -> Step<Expr> {
        self.node(offset, Kind::Ident(name.clone()))
    }
}
