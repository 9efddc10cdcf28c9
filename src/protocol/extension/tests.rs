//! What two ringperfs tell each other, as version 0.1.0 says it, and as older and later versions do.

use super::*;

#[test]
fn the_recorded_hello() {
    let recorded = r#"{"version":"0.1.0","extension":2}"#;
    let hello = ServerHello { version: "0.1.0".to_owned(), extension: Extension(2) };
    assert_eq!(ServerHello::decode(recorded.as_bytes()).unwrap(), hello);
    assert_eq!(hello.encode(), recorded);
    assert_eq!(ServerHello::own().extension, Extension::OWN);
}

#[test]
fn the_hello_of_another_version() {
    for (text, version, extension, common) in [
        (r#"{"version":"0.1.0","extension":1}"#, "0.1.0", 1, Extension(1)),
        (
            r#"{"version":"9.1.0-rc1+g123","extension":7,"more":{"of":["it"]}}"#,
            "9.1.0-rc1+g123",
            7,
            Extension::OWN,
        ),
    ] {
        let hello = ServerHello::decode(text.as_bytes()).unwrap();
        assert_eq!((hello.version.as_str(), hello.extension), (version, Extension(extension)));
        assert_eq!(hello.extension.common(Extension::OWN), common);
    }
    // Who has nothing to say of it says no hello.
    assert!(ServerHello::decode(br#"{"version":"0.1.0"}"#).is_err());
    assert_eq!(Extension::OWN.common(Extension::NONE), Extension::NONE);
    for (extension, is_spoken, names_tests) in
        [(0, false, false), (1, true, false), (2, true, true), (u32::MAX, true, true)]
    {
        let common = Extension(extension).common(Extension::OWN);
        assert_eq!((common.is_spoken(), common.names_tests_in_words()), (is_spoken, names_tests));
    }
}

#[test]
fn what_is_left_to_the_server_stays_unnamed() {
    let hello = Hello {
        version: "1".to_owned(),
        engine: None,
        cpus: None,
        explicit_block: false,
        extras: false,
        extension: Extension::OWN,
    };
    let text = r#"{"version":"1","explicit_block":false,"extension":2}"#;
    assert_eq!(serde_json::to_string(&hello).unwrap(), text);
}
