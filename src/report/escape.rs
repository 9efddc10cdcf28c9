//! Text that a peer chose, made harmless for a terminal.

use std::borrow::Cow;

/// Most characters of one peer string in a line.
const CHARS_MAX: usize = 256;

/// Replaces every character that a terminal would obey by its number, and cuts after 256 characters.
pub(crate) fn escape(text: &str) -> String {
    let kept: String = text.chars().take(CHARS_MAX).collect();
    let mut escaped = String::new();
    push(&mut escaped, &kept, |_| false);
    escaped
}

/// Makes text of many lines harmless: newlines and tabs stay, and nothing is cut.
pub(crate) fn escape_lines(text: &str) -> String {
    let mut escaped = String::new();
    push_lines(&mut escaped, text);
    escaped
}

/// Appends `text` of many lines to `escaped`, made harmless.
pub(crate) fn push_lines(escaped: &mut String, text: &str) {
    push(escaped, text, |character| matches!(character, '\n' | '\t'));
}

/// Writes the same characters as JSON escapes into a piece of JSON, where they can only stand inside strings.
///
/// A JSON writer escapes the first 32 characters by itself but lets the others through.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    // Nearly all of it is plain.
    if json.bytes().all(|byte| byte < 0x7f) {
        return json.into();
    }
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if character >= '\u{7f}' && is_command(character) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped.into()
}

fn push(escaped: &mut String, text: &str, keep: impl Fn(char) -> bool) {
    escaped.reserve(text.len());
    for character in text.chars() {
        if is_command(character) && !keep(character) {
            escaped.extend(character.escape_unicode());
        } else {
            escaped.push(character);
        }
    }
}

/// C0, DEL and C1 controls, line and paragraph separators, and the marks that turn the direction of writing.
fn is_command(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_commands_become_visible() {
        let cases = [
            ("bbr", "bbr"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\r\n\tb", "a\\u{d}\\u{a}\\u{9}b"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}txt.exe\u{2066}", "\\u{202e}txt.exe\\u{2066}"),
            ("Übertragung 速い", "Übertragung 速い"),
        ];
        for (text, expected) in cases {
            assert_eq!(escape(text), expected);
        }
    }

    #[test]
    fn long_strings_are_cut_but_whole_texts_are_not() {
        let long = "é".repeat(1000);
        assert_eq!(escape(&long).chars().count(), 256);
        assert_eq!(escape_lines(&long), long);
        assert_eq!(escape_lines("a\tb\n\u{7}\r\n"), "a\tb\n\\u{7}\\u{d}\n");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"title": "a\u{1b}\u{9b}\u{7f}\u{202e}\"\\é"});
        let text = value.to_string();
        let escaped = escape_json(&text);
        assert!(!escaped.chars().any(is_command), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }
}
