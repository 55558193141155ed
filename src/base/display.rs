//! Byte strings shown to people: the one place that makes hostile names harmless.
//!
//! Names of files are bytes; they may hold newlines, terminal sequences, marks that turn the
//! direction of text, or no text at all. What is printed here has none of these.

/// A path or name for a terminal, a log or a report: one line, with control characters,
/// format characters (direction, joiners, byte order mark, tags), line separators and bytes
/// that are not UTF-8 escaped (`\n`, `\u{202e}`, `\xff`), and the backslash doubled, so that
/// two different names never look the same.
pub fn path(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut shown, c);
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// The bytes that [`path`] shows in this way; `None` when it shows nothing so, or what was given
/// shows itself.
pub fn bytes_of(shown: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(shown.len());
    let mut parts = shown.split(|byte| *byte == b'\\');
    bytes.extend_from_slice(parts.next()?);
    while let Some(part) = parts.next() {
        let (sign, rest) = match part {
            // Two backslashes: what lies between them is empty.
            [] => (b"\\".to_vec(), parts.next()?),
            [b'n', rest @ ..] => (b"\n".to_vec(), rest),
            [b'r', rest @ ..] => (b"\r".to_vec(), rest),
            [b't', rest @ ..] => (b"\t".to_vec(), rest),
            [b'x', high, low, rest @ ..] => {
                let digits = [*high, *low];
                (vec![u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?], rest)
            }
            [b'u', b'{', rest @ ..] => {
                let end = rest.iter().position(|byte| *byte == b'}')?;
                let digits = std::str::from_utf8(&rest[..end]).ok()?;
                let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
                (c.to_string().into_bytes(), &rest[end + 1..])
            }
            _ => return None,
        };
        bytes.extend_from_slice(&sign);
        bytes.extend_from_slice(rest);
    }
    (bytes != shown && path(&bytes).as_bytes() == shown).then_some(bytes)
}

/// A path that a person wrote, bytes or as [`path`] shows them: never escaped twice.
pub fn asked(bytes: &[u8]) -> String {
    path(&bytes_of(bytes).unwrap_or_else(|| bytes.to_vec()))
}

/// [`path`], appended to bytes: as quick as a copy for the plain names that most are.
pub fn path_into(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\') {
        out.extend_from_slice(bytes);
    } else {
        out.extend_from_slice(path(bytes).as_bytes());
    }
}

/// A sentence that may hold a stranger's words, made harmless in the same way. Backslashes stay as
/// they are: paths in it were shown by [`path`] already.
pub fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => shown.push(c),
            c => push(&mut shown, c),
        }
    }
    shown
}

fn push(shown: &mut String, c: char) {
    match c {
        '\\' => shown.push_str("\\\\"),
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        c if c.is_control() || is_unseen(c) => shown.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        c => shown.push(c),
    }
}

/// Characters that change how their neighbours look, or that cannot be seen: Unicode's format
/// class (Cf), its line and paragraph separators, and the variation selectors.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
        | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_names_are_escaped_and_plain_ones_are_not() {
        assert_eq!(path(b"notes/2026 plan.txt"), "notes/2026 plan.txt");
        assert_eq!(path("Zürich/日本".as_bytes()), "Zürich/日本");
        assert_eq!(path(b"a\nb\x1b[31m\x7f"), "a\\nb\\u{1b}[31m\\u{7f}");
        assert_eq!(path("gpj.\u{202e}exe\u{9b}".as_bytes()), "gpj.\\u{202e}exe\\u{9b}");
        assert_eq!(path(b"\xff\xfe\\"), "\\xff\\xfe\\\\");
    }

    proptest! {
        #[test]
        fn every_name_is_one_printable_line(bytes: Vec<u8>) {
            let shown = path(&bytes);
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_unseen(c)));
        }

        #[test]
        fn appended_it_is_the_same(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), b' '..=b'~'], 0..9)) {
            let mut out = b"before".to_vec();
            path_into(&bytes, &mut out);
            prop_assert_eq!(out, format!("before{}", path(&bytes)).into_bytes());
        }

        #[test]
        fn what_is_shown_leads_back(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), b'a'..=b'z'], 0..9)) {
            let shown = path(&bytes);
            prop_assert_eq!(bytes_of(shown.as_bytes()).unwrap_or_else(|| shown.clone().into_bytes()), bytes);
            prop_assert_eq!(asked(shown.as_bytes()), shown);
        }

        #[test]
        fn anything_may_be_asked_for(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'u'), Just(b'{'), Just(b'x'), Just(b'f')], 0..12)) {
            if let Some(found) = bytes_of(&bytes) {
                prop_assert_eq!(path(&found).into_bytes(), bytes);
            }
        }

        #[test]
        fn different_names_look_different(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(a == b, path(&a) == path(&b));
        }
    }
}
