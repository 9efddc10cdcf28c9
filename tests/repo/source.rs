//! The sources as a reader of them has to see them: code without comments and strings, comments without code.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::Checked;

/// A Rust file, taken apart.
#[derive(Clone)]
pub struct Source {
    /// From the project's folder, with forward slashes.
    pub path: String,
    pub text: String,
    /// The text with comments, strings and characters blanked out; same lines.
    pub code: String,
    /// The text with everything but comments blanked out; same lines.
    pub comments: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let (code, comments) = separate(text);
        Self { path: path.to_owned(), text: text.to_owned(), code, comments }
    }

    /// `config` for `src/config/cli.rs`, `units` for `src/units.rs`.
    pub fn part(&self) -> &str {
        let below_src = self.path.trim_start_matches("src/");
        below_src.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// The code above the unit tests that are last in it, unless they are a file of their own, which has no
    /// such code.
    pub fn production_code(&self) -> &str {
        if self.path.ends_with("/tests.rs") {
            return "";
        }
        let tests = self.code.match_indices("#[cfg(test)]\n").find(|(position, _)| {
            let mut behind = self.code[*position..].lines().skip_while(|line| line.starts_with("#["));
            let is_module = |line: &str| line.trim_start_matches("pub(super) ").starts_with("mod ");
            behind.next().is_some_and(|line| is_module(line) && !line.ends_with(';'))
        });
        tests.map_or(self.code.as_str(), |(position, _)| &self.code[..position])
    }

    /// The lines of `view`, which is one of this source's texts, that `is_wrong` finds.
    pub fn lines_with(&self, view: &str, mut is_wrong: impl FnMut(&str) -> bool) -> Vec<String> {
        let wrong = view.lines().enumerate().filter(|(_, line)| is_wrong(line));
        wrong
            .map(|(index, _)| {
                format!("line {}: {}", index + 1, self.text.lines().nth(index).unwrap_or_default().trim())
            })
            .collect()
    }
}

/// Reads all Rust files below a folder of the project.
pub fn read_folder(name: &str) -> Checked<Vec<Source>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders = vec![root.join(name)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path: PathBuf = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root).expect("it was found below the root");
                sources.push(Source::new(&relative.to_string_lossy(), &fs::read_to_string(&path)?));
            }
        }
    }
    Ok(sources)
}

/// The words of a text: names, numbers and keywords.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}

/// What kind of text a position is in.
#[derive(Clone, Copy, PartialEq)]
enum Region {
    Code,
    LineComment,
    /// With the depth of nesting.
    BlockComment(usize),
    /// A string or a character literal.
    Quoted,
}

/// Splits a Rust text into its code and its comments; both keep the line structure.
fn separate(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (region, length) = next_region(rest);
        let (taken, after) = rest.split_at(length);
        rest = after;
        let blank: String = taken.chars().map(|one| if one == '\n' { '\n' } else { ' ' }).collect();
        let is_comment = matches!(region, Region::LineComment | Region::BlockComment(_));
        code += if region == Region::Code { taken } else { &blank };
        comments += if is_comment { taken } else { &blank };
    }
    (code, comments)
}

/// The region at the start of `rest` and its length in bytes.
fn next_region(rest: &str) -> (Region, usize) {
    if rest.starts_with("//") {
        return (Region::LineComment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Region::BlockComment(1), block_comment_length(rest));
    }
    if let Some(length) = raw_string_length(rest) {
        return (Region::Quoted, length);
    }
    if rest.starts_with('"') {
        return (Region::Quoted, quoted_length(rest, '"'));
    }
    if is_character_literal(rest) {
        return (Region::Quoted, quoted_length(rest, '\''));
    }
    // A word is taken whole, so that the `r` at the end of `for` does not start a raw string.
    let word = rest.find(|one: char| !one.is_alphanumeric() && one != '_').unwrap_or(rest.len());
    let first = rest.chars().next().map_or(0, char::len_utf8);
    (Region::Code, word.max(first))
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut position = 0;
    while position < rest.len() {
        let here = &rest[position..];
        let step = if here.starts_with("/*") {
            depth += 1;
            2
        } else if here.starts_with("*/") {
            depth -= 1;
            2
        } else {
            here.chars().next().map_or(1, char::len_utf8)
        };
        position += step;
        if depth == 0 {
            break;
        }
    }
    position
}

/// The length of a raw string like `r"..."` or `br#"..."#`, if one starts here.
fn raw_string_length(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        rest.strip_prefix(*prefix).is_some_and(|after| after.trim_start_matches('#').starts_with('"'))
    })?;
    let after = &rest[prefix.len()..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    let opening = prefix.len() + hashes + 1;
    let closing = format!("\"{}", "#".repeat(hashes));
    let body = rest[opening..].find(&closing).unwrap_or(rest.len() - opening - closing.len());
    Some(opening + body + closing.len())
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (position, character) in rest.char_indices().skip(1) {
        if character == quote && !escaped {
            return position + 1;
        }
        escaped = character == '\\' && !escaped;
    }
    rest.len()
}

/// `'x'` and `'\n'` are characters, `'a` is a lifetime.
fn is_character_literal(rest: &str) -> bool {
    let mut characters = rest.chars();
    characters.next() == Some('\'') && (characters.next() == Some('\\') || characters.next() == Some('\''))
}

#[test]
fn code_and_comments_are_told_apart() {
    let text = "let a = \"// no\"; // yes\nlet b = 'x'; /* in /* in */ */ let c = r#\"\" // no\"#;\nfn f<'a>(x: &'a str) {}";
    let (code, comments) = separate(text);
    assert_eq!(code.lines().count(), 3);
    assert_eq!(
        comments.split_whitespace().collect::<Vec<_>>(),
        ["//", "yes", "/*", "in", "/*", "in", "*/", "*/"]
    );
    assert!(code.contains("let b =") && code.contains("let c =") && code.contains("fn f<'a>(x: &'a str) {}"));
    assert!(!code.contains("no"));
}
