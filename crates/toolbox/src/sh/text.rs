//! Backslash escapes of `echo -e`, `printf` and `$'...'`.

/// How octal escapes begin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Octal {
    /// `\nnn`.
    Bare,
    /// `\0nnn`.
    Zero,
}

/// Resolves escapes. The flag is true when `\c` said to stop printing.
pub(crate) fn unescape(text: &str, octal: Octal) -> (Vec<u8>, bool) {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    let number = |from: usize, most: usize, radix: u32| -> (u32, usize) {
        let digits = bytes[from.min(bytes.len())..]
            .iter()
            .take(most)
            .take_while(|b| (**b as char).is_digit(radix))
            .count();
        let text = std::str::from_utf8(&bytes[from.min(bytes.len())..from + digits]).unwrap_or("");
        (u32::from_str_radix(text, radix).unwrap_or(0), digits)
    };
    while i < bytes.len() {
        if bytes[i] != b'\\' || i + 1 == bytes.len() {
            out.push(bytes[i]);
            i += 1;
            continue;
        }
        let c = bytes[i + 1];
        i += 2;
        match c {
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'c' => return (out, true),
            b'e' | b'E' => out.push(27),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'\\' => out.push(b'\\'),
            b'x' | b'u' | b'U' => {
                let most = match c {
                    b'x' => 2,
                    b'u' => 4,
                    _ => 8,
                };
                let (value, digits) = number(i, most, 16);
                if digits == 0 {
                    out.extend([b'\\', c]);
                } else if c == b'x' {
                    out.push(u8::try_from(value).unwrap_or(b'?'));
                } else {
                    let c = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
                    out.extend(c.to_string().as_bytes());
                }
                i += digits;
            }
            b'0' if octal == Octal::Zero => {
                let (value, digits) = number(i, 3, 8);
                out.push((value & 0xff) as u8);
                i += digits;
            }
            b'0'..=b'7' if octal == Octal::Bare => {
                let (value, digits) = number(i - 1, 3, 8);
                out.push((value & 0xff) as u8);
                i += digits - 1;
            }
            other => out.extend([b'\\', other]),
        }
    }
    (out, false)
}

/// A value as the shell would have to read it.
pub(crate) fn quote(value: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !value.is_empty() && value.chars().all(safe) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', "'\\''"))
}
