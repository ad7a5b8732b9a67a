//! `$(NAME)` references in commands, arguments and environment values.

/// Replaces `$(NAME)` by what `lookup` knows. An unknown name stays as it is written, and `$$` is a dollar that starts no reference.
pub(crate) fn expand<'a>(input: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        output.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            output.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => output.push_str(value),
                None => {
                    output.push_str("$(");
                    output.push_str(name);
                    output.push(')');
                }
            }
            rest = after;
        } else {
            output.push('$');
        }
    }
    output.push_str(rest);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_everything_else_is_left_alone() {
        let lookup = |name: &str| match name {
            "VAR_A" => Some("A"),
            "VAR_EMPTY" => Some(""),
            "VAR_REF" => Some("$(VAR_A)"),
            _ => None,
        };
        for (input, expected) in [
            ("$(VAR_A)", "A"),
            ("___$(VAR_A)___$(VAR_EMPTY)!", "___A___!"),
            ("$(VAR_REF)", "$(VAR_A)"),
            ("$$(VAR_A)", "$(VAR_A)"),
            ("$$$(VAR_A)", "$A"),
            ("$$$$", "$$"),
            ("$(NONE) $VAR_A ${VAR_A}", "$(NONE) $VAR_A ${VAR_A}"),
            ("open $(VAR_A", "open $(VAR_A"),
            ("end $", "end $"),
            ("ünï$(VAR_A)", "ünïA"),
        ] {
            assert_eq!(expand(input, lookup), expected, "{input}");
        }
    }
}
