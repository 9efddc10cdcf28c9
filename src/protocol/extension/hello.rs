//! How two ringperfs introduce themselves: a client in its parameters, a server before it wants streams.

use serde::Serialize;

use super::{Extension, is_version};
use crate::config::{EngineChoice, Placement};
use crate::protocol::{Object, Value, parse_object};

/// How a ringperf client introduces itself to its server: the member `ringperf` of its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hello {
    /// Version of this ringperf: 1 to 64 bytes of printable ASCII.
    pub version: String,
    /// The engine that the client would like the server to use; `None` leaves it to the server.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "engine_name")]
    pub engine: Option<EngineChoice>,
    /// Where the client would like the server's stream threads to run; `None` leaves it to the server.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "placement_text")]
    pub cpus: Option<Placement>,
    /// The user has set the block size, see [`crate::config::BlockSize::explicit`].
    pub explicit_block: bool,
    /// The client wants to see in the server's output what iperf3 does not say, too.
    #[serde(skip_serializing_if = "is_false")]
    pub extras: bool,
    /// What the client understands of the extension.
    pub extension: Extension,
}

impl Hello {
    /// Its key among the parameters, which no iperf3 has and each ignores.
    const KEY: &str = "ringperf";

    /// What a client has said, if it has: `parameters` are all that it asks for. Keys that are not known are
    /// ignored, and what cannot be read of the others counts as missing: a later ringperf has more keys, and
    /// more engines. A client whose version makes no sense is taken for an iperf3; none of this is a reason
    /// to refuse a test.
    pub(crate) fn of(parameters: &Object) -> Option<Self> {
        let Some(Value::Object(hello)) = parameters.get(Self::KEY) else { return None };
        let text = |key| hello.get(key).and_then(Value::text);
        let is_on = |key| hello.get(key) == Some(&Value::Bool(true));
        Some(Self {
            version: text("version").filter(|version| is_version(version))?.to_owned(),
            engine: text("engine").and_then(EngineChoice::from_name),
            cpus: text("cpus").and_then(|cpus| cpus.parse().ok()),
            explicit_block: is_on("explicit_block"),
            extras: is_on("extras"),
            extension: Extension::of(hello),
        })
    }
}

/// How a ringperf server introduces itself to a client that has asked, before it wants streams:
/// [`crate::protocol::State::Hello`], a length word, and a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerHello {
    /// Version of this ringperf: 1 to 64 bytes of printable ASCII.
    pub version: String,
    /// What it understands.
    pub extension: Extension,
}

/// Why a hello is not believed.
#[derive(Debug, thiserror::Error)]
#[error("the server's hello makes no sense")]
pub struct StrangeHello;

impl ServerHello {
    /// Most bytes of its JSON: with state and length word it has no more than 512.
    pub const BYTES_MAX: u32 = 507;

    /// This ringperf's.
    #[must_use]
    pub fn own() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), extension: Extension::OWN }
    }

    /// The JSON.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a string and a number are always JSON")
    }

    /// What a server has said. Keys that are not known are ignored: a later ringperf has more of them.
    ///
    /// # Errors
    /// It is no JSON object, or has no version in printable ASCII and no extension.
    pub fn decode(bytes: &[u8]) -> Result<Self, StrangeHello> {
        let object = parse_object(bytes).map_err(|_| StrangeHello)?;
        let version = object.get("version").and_then(Value::text).ok_or(StrangeHello)?;
        let extension = Extension::of(&object);
        if !extension.is_spoken() || !is_version(version) {
            return Err(StrangeHello);
        }
        Ok(Self { version: version.to_owned(), extension })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn engine_name<S: serde::Serializer>(
    engine: &Option<EngineChoice>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    engine.map(EngineChoice::name).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn placement_text<S: serde::Serializer>(
    placement: &Option<Placement>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    placement.as_ref().map(Placement::to_string).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::extension::VERSION_BYTES_MAX;

    fn hello_of(member: &str) -> Option<Hello> {
        Hello::of(&parse_object(format!("{{\"ringperf\":{member}}}").as_bytes()).unwrap())
    }

    #[test]
    fn a_client_that_gets_its_own_key_wrong_is_taken_for_an_iperf3() {
        let long = format!(r#"{{"version":"{}"}}"#, "1".repeat(65));
        for member in [
            "true",
            "[]",
            "{}",
            r#"{"version":7}"#,
            r#"{"version":""}"#,
            r#"{"version":"1 2"}"#,
            r#"{"version":"1\u001b[2J"}"#,
            r#"{"extension":2}"#,
            &long,
        ] {
            assert_eq!(hello_of(member), None, "{member}");
        }
        assert_eq!(Hello::of(&parse_object(b"{}").unwrap()), None);
    }

    #[test]
    fn an_engine_that_is_not_known_is_as_if_it_were_missing() {
        for (engine, seen) in [
            (r#""sync""#, Some(EngineChoice::Sync)),
            (r#""auto""#, Some(EngineChoice::Auto)),
            (r#""warp""#, None),
            (r#""SYNC""#, None),
            (r#""""#, None),
            ("7", None),
            ("null", None),
        ] {
            let hello =
                hello_of(&format!(r#"{{"version":"9","engine":{engine},"explicit_block":1}}"#)).unwrap();
            assert_eq!((hello.engine, hello.explicit_block), (seen, false), "{engine}");
        }
    }

    #[test]
    fn a_strange_placement_is_as_if_it_were_missing() {
        for (cpus, seen) in [
            (r#""2-3,0""#, Some("2-3,0")),
            (r#""pack""#, Some("pack")),
            (r#""auto""#, Some("auto")),
            (r#""near""#, Some("near")),
            // A later ringperf's.
            (r#""far""#, None),
            ("3", None),
            ("[3]", None),
            (r#""""#, None),
            (r#""PACK""#, None),
            (r#""-1""#, None),
            (r#""0-4294967295""#, None),
            (r#""0-1023,0""#, None),
        ] {
            let hello = hello_of(&format!(r#"{{"version":"9","cpus":{cpus}}}"#)).unwrap();
            assert_eq!(hello.cpus, seen.map(|seen| seen.parse().unwrap()), "{cpus}");
        }
    }

    #[test]
    fn what_is_not_believed() {
        let long = format!(r#"{{"version":"{}","extension":1}}"#, "1".repeat(65));
        for text in [
            "",
            "{}",
            "[]",
            r#"{"version":"1"}"#,
            r#"{"extension":1}"#,
            r#"{"version":1,"extension":1}"#,
            r#"{"version":"","extension":1}"#,
            r#"{"version":"1\u001b[2J","extension":1}"#,
            r#"{"version":"1","extension":0}"#,
            r#"{"version":"1","extension":-1}"#,
            r#"{"version":"1","extension":4294967296}"#,
            r#"{"version":"1","extension":"1"}"#,
            r#"{"version":"1","extension":1} x"#,
            &long,
        ] {
            assert!(ServerHello::decode(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn it_fits_whatever_the_version_is_called() {
        let hello = ServerHello { version: "v".repeat(VERSION_BYTES_MAX), extension: Extension(u32::MAX) };
        let text = hello.encode();
        assert!(u32::try_from(text.len()).unwrap() <= ServerHello::BYTES_MAX);
        assert_eq!(ServerHello::decode(text.as_bytes()).unwrap(), hello);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ServerHello::decode(&bytes);
        }

        #[test]
        fn arbitrary_members_are_read_without_a_panic(member in "[\\[\\]{}:,\"a-z0-9]{0,60}") {
            if let Ok(parameters) = parse_object(format!("{{\"ringperf\":{member}}}").as_bytes()) {
                let _ = Hello::of(&parameters);
            }
        }
    }
}
