//! What a script means once it is read.

use std::cell::OnceCell;
use std::rc::Rc;

/// One word: its parts in order. No parts never happens: `""` is one empty quoted part.
pub(super) type Word = Vec<Part>;

/// A piece of a word.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// Text as typed: may hold a tilde, wildcards, braces.
    Lit(String),
    /// Quoted text: means itself.
    Quoted(String),
    /// `$name`, `${...}`. Quoted: the value is not split and not matched against files.
    Param(Box<Param>, bool),
    /// `$(...)` or backquotes.
    Command(Rc<Cmd>, bool),
    /// `$((...))`: the text to expand first.
    Arith(Word, bool),
}

/// A parameter expansion.
#[derive(Clone, Debug)]
pub(super) struct Param {
    pub name: String,
    /// `${!name}`: the value names the parameter that is meant.
    pub indirect: bool,
    pub op: ParamOp,
}

/// What `${name...}` does with the value.
#[derive(Clone, Debug)]
pub(super) enum ParamOp {
    Plain,
    Length,
    /// `-`, `=`, `?`, `+`; with a colon an empty value counts as unset.
    Unset {
        op: char,
        colon: bool,
        word: Word,
    },
    /// `#`, `%`; doubled removes the longest match.
    Trim {
        suffix: bool,
        longest: bool,
        pattern: Word,
    },
    /// `/pattern/text`; anchor is `/` (all), `#`, `%` or none.
    Replace {
        anchor: Option<char>,
        pattern: Word,
        with: Word,
    },
    /// `:offset:length`.
    Slice {
        offset: Word,
        length: Option<Word>,
    },
    /// `^`, `^^`, `,`, `,,`.
    Case {
        upper: bool,
        all: bool,
    },
}

/// A command of any shape.
#[derive(Debug)]
pub(super) enum Cmd {
    Simple(Simple),
    Pipeline {
        negate: bool,
        timed: bool,
        stages: Vec<Cmd>,
    },
    /// `a && b || c`: the flag is true for `&&`.
    AndOr(Box<Cmd>, Vec<(bool, Cmd)>),
    List(Vec<Item>),
    Subshell(Rc<Cmd>),
    Group(Box<Cmd>),
    If {
        arms: Vec<(Cmd, Cmd)>,
        otherwise: Option<Box<Cmd>>,
    },
    While {
        until: bool,
        condition: Box<Cmd>,
        body: Box<Cmd>,
    },
    For {
        name: String,
        words: Option<Vec<Word>>,
        body: Box<Cmd>,
    },
    ArithFor {
        start: Word,
        condition: Word,
        step: Word,
        body: Box<Cmd>,
    },
    Case {
        word: Word,
        arms: Vec<Arm>,
    },
    Function {
        name: String,
        body: Rc<Cmd>,
    },
    Test(Test),
    Arith(Word),
    Redirected(Box<Cmd>, Vec<Redirect>),
}

/// One command of a list.
#[derive(Debug)]
pub(super) struct Item {
    pub cmd: Rc<Cmd>,
    pub background: bool,
    /// As typed, for `jobs`.
    pub text: String,
}

/// One arm of a `case`.
#[derive(Debug)]
pub(super) struct Arm {
    pub patterns: Vec<Word>,
    pub body: Cmd,
    /// `;&`: go on with the next arm's body.
    pub fall_through: bool,
}

/// Assignments, words and redirections.
#[derive(Debug, Default)]
pub(super) struct Simple {
    pub assigns: Vec<Assign>,
    pub words: Vec<Word>,
    pub redirects: Vec<Redirect>,
    pub line: u32,
}

/// `name=value` or `name+=value`.
#[derive(Clone, Debug)]
pub(super) struct Assign {
    pub name: String,
    pub append: bool,
    pub value: Word,
}

/// One redirection.
#[derive(Clone, Debug)]
pub(super) struct Redirect {
    pub fd: i32,
    pub to: Target,
}

/// Where a redirection leads.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Read(Word),
    Write {
        word: Word,
        clobber: bool,
    },
    Append(Word),
    ReadWrite(Word),
    /// `<&`, `>&`: another descriptor, or `-` to close.
    Dup(Word),
    /// `&>`, `&>>`: standard output and error.
    Both {
        word: Word,
        append: bool,
    },
    /// The text, read when its line ends.
    Here(Rc<OnceCell<Word>>),
    /// `<<<`.
    HereString(Word),
}

/// `[[ ... ]]`.
#[derive(Debug)]
pub(super) enum Test {
    Not(Box<Test>),
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Unary(String, Word),
    Binary(Word, String, Word),
    Text(Word),
}
