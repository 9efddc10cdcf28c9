//! What a file names of others: paths from the crate's root, and the files that they lead to.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, words};

/// A path from the crate's root: `["engine", "gate", "SendGate"]` for `crate::engine::gate::SendGate`.
pub type Path = Vec<String>;

/// Something that a file names, and the name that it has there; `*` stands for all of it.
#[derive(Clone, Debug, PartialEq)]
struct Import {
    path: Path,
    name: String,
}

/// The module that a file is: `["engine", "gate"]` for `src/engine/gate.rs`, and nothing for the root.
pub fn module_of(path: &str) -> Path {
    let below = path.split_once('/').map_or(path, |(_, below)| below);
    let bare = below.trim_end_matches(".rs");
    let module: Path = bare.split('/').map(str::to_owned).collect();
    match module.last().map(String::as_str) {
        Some("mod") => module[..module.len() - 1].to_vec(),
        Some("lib" | "main") if module.len() == 1 => Path::new(),
        _ => module,
    }
}

/// All paths in `code`, which is one of the source's texts, that begin with `crate`, `super` or `self`. The
/// modules inside a file are not looked at, so what is `super` in them should not be in it.
pub fn paths_in(source: &Source, code: &str) -> Vec<Path> {
    let module = module_of(&source.path);
    let mut imports = Vec::new();
    for (word, from) in heads(&module) {
        for after in tails(code, word) {
            read_tree(after, &from, &mut imports);
        }
    }
    imports.into_iter().map(|import| import.path).filter(|path| !path.is_empty()).collect()
}

/// The words that a path may begin with, and where they are.
fn heads(module: &[String]) -> [(&'static str, Path); 3] {
    let above = module.split_last().map(|(_, above)| above.to_vec()).unwrap_or_default();
    [("crate", Path::new()), ("super", above), ("self", module.to_vec())]
}

/// What stands behind each `word::` that is the beginning of a path.
fn tails<'a>(code: &'a str, word: &str) -> impl Iterator<Item = &'a str> {
    let begins = |at: usize| {
        let before = &code[..at];
        !before.ends_with(|one: char| one.is_alphanumeric() || one == '_' || one == ':')
    };
    let head = format!("{word}::");
    let positions: Vec<usize> = code.match_indices(&head).map(|(at, _)| at).collect();
    let length = head.len();
    positions.into_iter().filter(move |at| begins(*at)).map(move |at| &code[at + length..])
}

/// Reads a path, or all paths of a group, from its beginning.
fn read_tree(text: &str, from: &[String], imports: &mut Vec<Import>) {
    if let Some(group) = text.strip_prefix('{') {
        for member in members(group) {
            read_tree(&member, from, imports);
        }
        return;
    }
    let end = text.find(|one: char| !one.is_alphanumeric() && one != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path = match word {
        "" | "self" => from.to_vec(),
        "super" => heads(from)[1].1.clone(),
        word => [from, &[word.to_owned()]].concat(),
    };
    let goes_on = |next: &&str| next.starts_with(|one: char| one.is_alphabetic() || "_{*".contains(one));
    if let Some(next) = rest.strip_prefix("::").filter(goes_on) {
        return read_tree(next, &path, imports);
    }
    let alias = rest.strip_prefix(" as ").and_then(|rest| words(rest).next());
    let own = if text.starts_with('*') { Some("*") } else { path.last().map(String::as_str) };
    let name = alias.or(own).unwrap_or_default().to_owned();
    imports.push(Import { path, name });
}

/// The members of a group whose opening brace is already read.
fn members(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut members = vec![String::new()];
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match character {
            _ if depth == 0 => break,
            ',' if depth == 1 => members.push(String::new()),
            _ => members.last_mut().expect("there is always one").push(character),
        }
    }
    let trimmed = members.iter().map(|member| member.trim().to_owned());
    trimmed.filter(|member| !member.is_empty()).collect()
}

/// What is known of a file for those that name things in it.
struct File<'a> {
    source: &'a Source,
    defined: BTreeSet<String>,
    imports: Vec<Import>,
}

/// The files of a crate by the modules that they are.
pub struct Files<'a>(BTreeMap<Path, File<'a>>);

impl<'a> Files<'a> {
    pub fn new(sources: &'a [Source]) -> Self {
        let modules: BTreeSet<Path> = sources.iter().map(|source| module_of(&source.path)).collect();
        let file = |source: &'a Source| File {
            source,
            defined: defined_in(&source.code),
            imports: imports_of(source, &modules),
        };
        Self(sources.iter().map(|source| (module_of(&source.path), file(source))).collect())
    }

    /// The file that defines what a path leads to, through the re-exports of others; the last one on the way
    /// that is known if it cannot be told.
    pub fn file_of(&self, path: &[String]) -> Option<&'a str> {
        self.follow(path, 8)
    }

    fn follow(&self, path: &[String], steps: usize) -> Option<&'a str> {
        let known = (0..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(known);
        let file = &self.0[module];
        let here = file.source.path.as_str();
        let Some((name, rest)) = rest.split_first() else { return Some(here) };
        if steps == 0 || file.defined.contains(name) {
            return Some(here);
        }
        let named = file.imports.iter().find(|import| import.name == *name);
        if let Some(import) = named {
            return self.follow(&[&import.path, rest].concat(), steps - 1).or(Some(here));
        }
        let globs = file.imports.iter().filter(|import| import.name == "*");
        let from_glob = globs
            .filter(|import| self.0.get(&import.path).is_some_and(|file| file.defined.contains(name)))
            .find_map(|import| self.follow(&import.path, steps - 1));
        from_glob.or(Some(here))
    }
}

/// The names of the items that a file has.
fn defined_in(code: &str) -> BTreeSet<String> {
    const KEYWORDS: [&str; 10] =
        ["fn", "struct", "enum", "union", "trait", "type", "const", "static", "mod", "macro_rules"];
    let names = words(code).zip(words(code).skip(1)).filter(|(keyword, _)| KEYWORDS.contains(keyword));
    names.map(|(_, name)| name.to_owned()).collect()
}

/// What a file imports by `use`, from this crate.
fn imports_of(source: &Source, modules: &BTreeSet<Path>) -> Vec<Import> {
    let module = module_of(&source.path);
    let mut imports = Vec::new();
    let mut rest = source.production_code();
    while let Some(at) = rest.find("use ") {
        let is_word = !rest[..at].ends_with(|one: char| one.is_alphanumeric() || one == '_');
        rest = &rest[at + 4..];
        if !is_word {
            continue;
        }
        let (head, tail) = rest.split_once("::").unwrap_or((rest, ""));
        if let Some((_, from)) = heads(&module).into_iter().find(|(word, _)| *word == head) {
            read_tree(tail, &from, &mut imports);
        } else if modules.contains(&[&module[..], &[head.to_owned()]].concat()) {
            read_tree(rest, &module, &mut imports);
        }
    }
    imports
}

#[test]
fn paths_are_read_from_the_root() {
    let source = Source::new(
        "src/engine/udp/stamp.rs",
        "use super::{Layout, pause::Pause as P};\nuse crate::{units, engine::{self, gate::*}};\n\
         fn f(x: &crate::sys::Ring) -> self::Own {}\n// crate::comment\npub(crate) fn g() { \"crate::text\" }",
    );
    let paths = paths_in(&source, &source.code);
    let mut read: Vec<String> = paths.iter().map(|path| path.join("::")).collect();
    read.sort_unstable();
    assert_eq!(
        read,
        [
            "engine",
            "engine::gate",
            "engine::udp::Layout",
            "engine::udp::pause::Pause",
            "engine::udp::stamp::Own",
            "sys::Ring",
            "units",
        ]
    );
}

#[test]
fn names_lead_to_the_files_that_define_them() {
    let sources = [
        Source::new("src/lib.rs", "pub mod engine;"),
        Source::new(
            "src/engine/mod.rs",
            "mod gate;\nmod udp;\npub use gate::{Gate, Inner as Other};\npub use udp::*;\npub struct Own;",
        ),
        Source::new("src/engine/gate.rs", "pub struct Gate;\npub enum Inner {}"),
        Source::new("src/engine/udp/mod.rs", "mod stamp;\npub use stamp::Stamp;\npub const ROOM: u8 = 1;"),
        Source::new("src/engine/udp/stamp.rs", "pub struct Stamp;"),
    ];
    let files = Files::new(&sources);
    for (path, file) in [
        ("engine::Own", "src/engine/mod.rs"),
        ("engine::Gate", "src/engine/gate.rs"),
        ("engine::Other", "src/engine/gate.rs"),
        ("engine::gate", "src/engine/gate.rs"),
        ("engine::udp::Stamp::new", "src/engine/udp/stamp.rs"),
        ("engine::ROOM", "src/engine/udp/mod.rs"),
        ("engine::nobody_knows", "src/engine/mod.rs"),
    ] {
        let path: Path = path.split("::").map(str::to_owned).collect();
        assert_eq!(files.file_of(&path), Some(file), "{path:?}");
    }
}
