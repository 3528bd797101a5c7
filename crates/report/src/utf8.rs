//! Addresses and ids as delivery reports write them: xtext (RFC 3461 4) and the two UTF-8 forms (RFC 6533 3).

/// Decodes xtext: `+` and two upper-case hexadecimal digits stand for an octet. What is no xtext, or no UTF-8 when
/// decoded, is given back as it is.
#[must_use]
pub fn decode_xtext(text: &str) -> String {
    fn decoded(text: &str) -> Option<String> {
        let mut out = Vec::with_capacity(text.len());
        let mut octets = text.bytes();
        while let Some(octet) = octets.next() {
            if octet != b'+' {
                out.push(octet);
                continue;
            }
            let mut digit = || octets.next().filter(|d| matches!(d, b'0'..=b'9' | b'A'..=b'F')).map(hex);
            let (high, low) = (digit()?, digit()?);
            out.push(high << 4 | low);
        }
        String::from_utf8(out).ok()
    }
    decoded(text).unwrap_or_else(|| text.to_owned())
}

fn hex(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'A' + 10 }
}

/// The form in ASCII: what is not printable, and `\`, `+` and `=`, as `\x{HEX}`.
pub(crate) fn to_xtext(address: &str) -> String {
    let mut out = String::with_capacity(address.len() * 2);
    for c in address.chars() {
        if matches!(c, '!'..='~') && !matches!(c, '\\' | '+' | '=') {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{{{:02X}}}", u32::from(c)));
        }
    }
    out
}

/// Resolves `\x{HEX}`. What does not have that form, or is not a character, stays as it is.
pub(crate) fn to_unitext(address: &str) -> String {
    let mut out = String::with_capacity(address.len());
    let mut rest = address;
    while let Some(at) = rest.find("\\x{") {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        match escape[3..].split_once('}').and_then(|(digits, after)| Some((character(digits)?, after))) {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push_str(&escape[..3]);
                rest = &escape[3..];
            }
        }
    }
    out + rest
}

fn character(digits: &str) -> Option<char> {
    let fine = (2..=6).contains(&digits.len()) && digits.bytes().all(|d| d.is_ascii_hexdigit());
    fine.then(|| u32::from_str_radix(digits, 16).ok()).flatten().and_then(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext() {
        for (text, expect) in [
            ("QQ314159", "QQ314159"),
            ("a+2Bb+3Dc", "a+b=c"),
            ("a+C3+BC", "aü"),
            ("a+2b", "a+2b"),
            ("a+", "a+"),
            ("a+2", "a+2"),
            ("a+FF", "a+FF"),
            ("", ""),
        ] {
            assert_eq!(decode_xtext(text), expect, "{text}");
        }
    }

    #[test]
    fn utf8_forms_and_back() {
        for (unitext, xtext) in [
            ("a@b.org", "a@b.org"),
            ("jürgen@bücher.example", r"j\x{FC}rgen@b\x{FC}cher.example"),
            ("a+b=c\\ \u{1f600}@x", r"a\x{2B}b\x{3D}c\x{5C}\x{20}\x{1F600}@x"),
        ] {
            assert_eq!(to_xtext(unitext), xtext);
            assert_eq!(to_unitext(xtext), unitext);
        }
        for odd in [r"\x{", r"\x{}", r"\x{D800}", r"\x{110000}", r"\x{zz}", r"a\x{\x", r"\x{+1}"] {
            assert_eq!(to_unitext(odd), odd);
        }
    }
}
