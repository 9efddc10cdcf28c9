//! `docs/ringperf.schema.json` is what the types say.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

use super::{Document, Event};

/// A document of -J, or one line of --json-stream. All keys but `ringperf` are those of iperf3 3.21.
#[derive(JsonSchema)]
#[schemars(untagged, title = "Reports of ringperf")]
#[expect(dead_code, reason = "only its schema counts")]
enum Report {
    Document(Box<Document>),
    Event(Box<Event>),
}

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ringperf.schema.json");

#[test]
fn the_schema_is_that_of_the_types() {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with_transform(RecursiveTransform(narrow));
    let schema = settings.into_generator().into_root_schema_for::<Report>();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("RINGPERF_RECORD").is_some_and(|value| value == "1") {
        std::fs::write(PATH, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(PATH).unwrap() == text,
        "the types of documents have changed, or their comments; to write {PATH} anew:\n\
         RINGPERF_RECORD=1 cargo test --lib the_schema_is_that_of_the_types"
    );
}

/// What all types have in common and no attribute says: an object has no other keys, a key that may be absent
/// is never null, and no measure is negative. Defaults are for those who read an older document, and formats
/// are types of Rust.
fn narrow(schema: &mut Schema) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.shift_remove("default");
    schema.shift_remove("format");
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if is_of_type(schema, "number") {
        schema.entry("minimum").or_insert(0.into());
    }
    if is_of_type(schema, "object") && !schema.contains_key("additionalProperties") {
        let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (key, property) in properties.into_iter().flatten() {
            if let Some(property) =
                property.as_object_mut().filter(|_| !required.contains(&key.as_str().into()))
            {
                forbid_null(property);
            }
        }
        schema.insert("additionalProperties".to_owned(), false.into());
    }
}

fn is_of_type(schema: &Map<String, Value>, name: &str) -> bool {
    let kinds = schema.get("type");
    kinds.is_some_and(|kinds| {
        kinds == name || kinds.as_array().is_some_and(|kinds| kinds.contains(&name.into()))
    })
}

fn forbid_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = &mut kinds[..] {
            let kind = kind.take();
            schema["type"] = kind;
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [Value::Object(choice)] = &mut choices[..] {
            let choice = std::mem::take(choice);
            schema.shift_remove("anyOf");
            schema.extend(choice);
        }
    }
}
