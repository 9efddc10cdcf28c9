//! Everything that ringperf prints as JSON keeps to `docs/ringperf.schema.json`.

use std::fs;
use std::time::Duration;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::harness::{
    Cells, Checked, Document, Failure, Finished, Server, ensure, ours, pick, run, run_client, run_pair,
    start_client,
};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn the_program_prints_the_schema() -> Checked {
    let printed = run(ours().command("--json-schema"))?;
    printed.succeeded()?;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ringperf.schema.json");
    ensure!(printed.stdout == fs::read_to_string(path)?, "another text than that of {path}");
    Ok(())
}

#[test]
fn documents_and_streams_keep_to_the_schema() -> Checked {
    let mut cells = Cells::default();
    for options in [
        "",
        "-R --get-server-output",
        "--bidir -P 2 -T title --extra-data more",
        "-O 1 -M 1400 -w 64K",
        "-i 0 -n 1M",
        "-u",
        "-u -R --get-server-output",
        "-u --bidir -P 2",
        "-u -O 1 -l 1000",
    ] {
        for format in ["-J", "--json-stream"] {
            cells.add(format!("{format} {options}"), move || {
                let end = if options.contains("-n") { "" } else { "-t 1" };
                let pair =
                    run_pair((&ours(), format), (&ours(), &format!("{format} -b 5M {end} {options}")))?;
                keeps(&pair.client)?;
                keeps(&pair.server)
            });
        }
    }
    cells.run()
}

#[test]
fn failures_keep_to_the_schema() -> Checked {
    for format in ["-J", "--json-stream"] {
        let nobody = run(ours().command(&format!("-c 127.0.0.1 -p {} {format}", pick())))?;
        keeps(&nobody)?;

        let server = Server::start(&ours(), format)?;
        keeps(&run(ours().command(&format!("-s -p {} {format}", server.port)))?)?;
        let client = start_client(&ours(), server.port, "-t 60 -b 5M")?;
        client.wait_for_stdout("connected to", 1, LIMIT)?;
        let busy = run_client(&ours(), server.port, format)?;
        ensure!(busy.code == Some(1), "{busy}");
        keeps(&busy)?;
        client.interrupt()?;
        server.process.wait_for_stdout("the client has terminated", 1, LIMIT)?;
        server.process.interrupt()?;
        keeps(&server.finish()?)?;

        let server = Server::start(&ours(), "")?;
        let client = start_client(&ours(), server.port, &format!("{format} -t 60 -b 5M -u"))?;
        server.process.wait_for_stdout(" sec ", 1, LIMIT)?;
        server.process.interrupt()?;
        let client = client.finish(LIMIT)?;
        ensure!(client.code == Some(1), "{client}");
        keeps(&client)?;
    }
    Ok(())
}

/// A schema that takes everything proves nothing.
#[test]
fn what_is_no_report_is_refused() -> Checked {
    let validator = validator()?;
    let good = || json!({"start": {"connected": [], "version": "iperf 3", "system_info": ""}, "intervals": [], "end": {}});
    let with = |key: &str, value: Value| {
        let mut document = good();
        document[key] = value;
        document
    };
    ensure!(validator.is_valid(&good()) && validator.is_valid(&with("title", json!("x"))), "the good ones");
    for wrong in [
        with("stray", json!(1)),
        with("end", json!({"stray": 1})),
        with("error", json!(1)),
        with("intervals", json!([{}])),
        with("start", json!({"connected": []})),
        with("ringperf", json!({"version": "1"})),
        json!({"event": "end"}),
        json!({"event": "stray", "data": {}}),
        json!({"event": "interval", "data": {}}),
        json!([good()]),
        json!({}),
    ] {
        ensure!(!validator.is_valid(&wrong), "this is taken: {wrong}");
    }
    Ok(())
}

/// Every document, or every line, is one that the schema describes.
fn keeps(run: &Finished) -> Checked {
    let validator = validator()?;
    let values = match run.stdout.starts_with("{\n") {
        true => serde_json::Deserializer::from_str(&run.stdout).into_iter::<Value>().collect(),
        false => run.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>(),
    };
    let values = values.map_err(|error| Failure(format!("{error}\n{run}")))?;
    ensure!(!values.is_empty(), "nothing was printed\n{run}");
    for value in values {
        ensure!(validator.is_valid(&value), "not in the schema: {}\n{run}", reasons(&validator, &value));
    }
    Ok(())
}

fn reasons(validator: &Validator, value: &Value) -> String {
    validator.iter_errors(value).map(|error| format!("{}: {error}\n", error.instance_path())).collect()
}

fn validator() -> Checked<Validator> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ringperf.schema.json");
    let Document(schema) = Document::parse(&fs::read_to_string(path)?)?;
    jsonschema::draft202012::new(&schema).map_err(|error| Failure(format!("no schema: {error}")))
}
