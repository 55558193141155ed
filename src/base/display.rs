//! Names as people may see them: whatever could move a cursor, hide a line or turn the direction
//! of writing is shown as an escape.
//!
//! One function for all faces. HTML and CSV escape on top of this, each in its own way.

use std::fmt::Write;

/// A path or name that need not be text.
pub fn path(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        push_text(&mut out, chunk.valid());
        for byte in chunk.invalid() {
            write_escape(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    out
}

/// Text from a stranger.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_text(&mut out, text);
    out
}

fn push_text(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            hidden if is_hidden(hidden) => write_escape(out, format_args!("\\u{{{:x}}}", u32::from(hidden))),
            shown => out.push(shown),
        }
    }
}

/// Control characters, and the marks that reorder or hide text (Unicode TR 9 and TR 36).
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn write_escape(out: &mut String, escape: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    drop(out.write_fmt(escape));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_harmless_and_plain_ones_untouched() {
        assert_eq!(path("/srv/Größe/数据.txt".as_bytes()), "/srv/Größe/数据.txt");
        assert_eq!(path(b"a\xff\x1b[31mb\n"), "a\\xff\\u{1b}[31mb\\n");
        assert_eq!(text("invoice\u{202e}fdp.exe"), "invoice\\u{202e}fdp.exe");
    }
}
