//! Which keys a JSON document has, at every level, and of which type; and which words a text has.

use std::collections::BTreeSet;

use serde_json::Value;

/// All paths of a document with their JSON types, for example `intervals[].sum.bytes: number`.
///
/// The elements of an array are seen as one: what any of them has, the path of the array has.
pub fn shape(document: &Value) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    add(document, "", &mut paths);
    paths
}

/// What only one of two shapes has, a line each; empty when they are equal.
pub fn differences(ours: &BTreeSet<String>, theirs: &BTreeSet<String>) -> String {
    let missing = theirs.difference(ours).map(|path| format!("missing: {path}\n"));
    let extra = ours.difference(theirs).map(|path| format!("not iperf3's: {path}\n"));
    missing.chain(extra).collect()
}

/// The lines of a text with an `n` for every number and one space for every gap.
pub fn line_shapes(text: &str) -> Vec<String> {
    let is_number = |character: char| character.is_ascii_digit() || character == '.';
    let line_shape = |line: &str| {
        let mut shape = String::new();
        for character in line.chars() {
            let character = if is_number(character) { 'n' } else { character };
            if !(matches!(character, 'n' | ' ') && shape.ends_with(character)) {
                shape.push(character);
            }
        }
        shape
    };
    text.lines().map(line_shape).collect()
}

fn add(value: &Value, path: &str, paths: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(elements) => {
            elements.iter().for_each(|element| add(element, &format!("{path}[]"), paths));
            "array"
        }
        Value::Object(members) => {
            for (key, member) in members {
                let separator = if path.is_empty() { "" } else { "." };
                add(member, &format!("{path}{separator}{key}"), paths);
            }
            "object"
        }
    };
    paths.insert(format!("{path}: {kind}"));
}

#[test]
fn a_shape_knows_keys_and_types_but_no_values() {
    let read = |text: &str| shape(&serde_json::from_str(text).expect("it is JSON"));
    let first = read(r#"{"a": [{"b": 1}, {"c": true}], "d": "x"}"#);
    assert_eq!(differences(&first, &read(r#"{"d": "y", "a": [{"c": false, "b": 1.5}]}"#)), "");
    let other = read(r#"{"a": [{"b": "1"}, {"c": true}], "d": "x"}"#);
    assert_eq!(differences(&first, &other), "missing: a[].b: string\nnot iperf3's: a[].b: number\n");
}

#[test]
fn a_line_shape_knows_words_but_no_numbers() {
    let rows = "[  5]   0.00-1.00   sec  1.22 MBytes\n[ 13]   0.00-10.0   sec   512 KBytes\n";
    assert_eq!(line_shapes(rows), ["[ n] n-n sec n MBytes", "[ n] n-n sec n KBytes"]);
}
