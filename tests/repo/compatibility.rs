//! docs/COMPATIBILITY.md says of every option and of every key whether it is iperf3's. It must not rot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::harness::{Checked, Failure, Program, ensure, libiperf, ours, run, run_pair};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/COMPATIBILITY.md");

/// What is ringperf's alone stands behind these words.
const ALONE: &str = "Options of ringperf alone:";

#[test]
fn every_option_is_listed_and_there() -> Checked {
    let page = page()?;
    let rows = options_in(&rows(&page, "## Options").join("\n"));
    let alone = page.split(ALONE).nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let listed: BTreeSet<String> = rows.union(&options_in(alone)).cloned().collect();
    let theirs = options_of(&libiperf()?, "Server or Client:")?;
    let own = options_of(&ours(), "")?;
    let missing = |from: &BTreeSet<String>, of: &BTreeSet<String>| -> Vec<String> {
        of.difference(from).cloned().collect()
    };
    ensure!(theirs.len() > 50, "only {} options of iperf3 were found", theirs.len());
    for (what, lacking) in [
        ("options of iperf3 that are not listed", missing(&rows, &theirs)),
        ("options of iperf3 that ringperf lacks", missing(&own, &theirs)),
        ("listed options that ringperf lacks", missing(&own, &listed)),
        ("options of ringperf that are not listed", missing(&listed, &own)),
    ] {
        ensure!(lacking.is_empty(), "{what}: {lacking:?}");
    }
    Ok(())
}

#[test]
fn every_key_is_listed_and_there() -> Checked {
    let page = page()?;
    let mut listed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows(&page, "## Keys of the JSON document") {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let object = cells.next().unwrap_or_default().trim_matches('`').replace("(the document)", "");
        let keys = cells.next().unwrap_or_default().split_whitespace();
        listed.insert(object, keys.map(|key| key.trim_matches('`').to_owned()).collect());
    }
    ensure!(listed.len() > 15, "only {} objects are listed", listed.len());
    for (program, own_key) in [(libiperf()?, None), (ours(), Some("ringperf"))] {
        let mut seen = BTreeMap::new();
        for document in documents(&program)? {
            collect(&document, "", &mut seen);
        }
        if let (Some(key), Some(top)) = (own_key, seen.get_mut("")) {
            ensure!(top.remove(key), "no key {key} in a document of {}", program.name);
        }
        ensure!(
            seen == listed,
            "{} has other keys than are listed\n{}",
            program.name,
            differences(&seen, &listed)
        );
    }
    Ok(())
}

/// Documents that have every key between them.
fn documents(program: &Program) -> Checked<Vec<Value>> {
    let file = std::env::temp_dir().join(format!("ringperf-test-{}", std::process::id()));
    fs::write(&file, vec![7; 300_000]).map_err(|error| Failure(error.to_string()))?;
    let mut documents = Vec::new();
    for (client, server) in [
        ("-t 1 --bidir -P 2 -T title --extra-data more", "-J"),
        ("-t 1 -M 1400 --get-server-output", "-J"),
        ("-t 1 --get-server-output", ""),
        ("-u -t 1 --bidir", "-J"),
        (&format!("-F {} -n 300000", file.display()), ""),
    ] {
        let pair = run_pair((program, server), (program, &format!("{client} -J")))?;
        documents.push(pair.client.document()?.0);
        if server == "-J" {
            documents.push(pair.server.document()?.0);
        }
    }
    documents.push(run(program.command("-c 127.0.0.1 -p 1 -J"))?.document()?.0);
    fs::remove_file(&file).map_err(|error| Failure(error.to_string()))?;
    Ok(documents)
}

/// The keys of every object below `value`. What a server sends of its own document has the same keys again,
/// and our own part is our own matter.
fn collect(value: &Value, path: &str, seen: &mut BTreeMap<String, BTreeSet<String>>) {
    match value {
        Value::Array(elements) => {
            elements.iter().for_each(|element| collect(element, &format!("{path}[]"), seen));
        }
        Value::Object(members) => {
            for (key, member) in members {
                seen.entry(path.to_owned()).or_default().insert(key.clone());
                if !["server_output_json", "ringperf"].contains(&key.as_str()) {
                    let separator = if path.is_empty() { "" } else { "." };
                    collect(member, &format!("{path}{separator}{key}"), seen);
                }
            }
        }
        _ => {}
    }
}

fn differences(
    seen: &BTreeMap<String, BTreeSet<String>>,
    listed: &BTreeMap<String, BTreeSet<String>>,
) -> String {
    let mut text = String::new();
    let none = BTreeSet::new();
    for object in seen.keys().chain(listed.keys()).collect::<BTreeSet<_>>() {
        let (seen, listed) = (seen.get(object).unwrap_or(&none), listed.get(object).unwrap_or(&none));
        if seen != listed {
            let (more, less): (Vec<_>, Vec<_>) =
                (seen.difference(listed).collect(), listed.difference(seen).collect());
            text += &format!("{object:?}: not listed {more:?}, not there {less:?}\n");
        }
    }
    text
}

/// The rows of the table below a heading, without its head.
fn rows(page: &str, heading: &str) -> Vec<String> {
    let below = page.split(heading).nth(1).unwrap_or_default();
    let below = below.split("\n## ").next().unwrap_or_default();
    below.lines().filter(|line| line.starts_with("| ")).skip(1).map(str::to_owned).collect()
}

/// The long options that are named in a text, in backticks.
fn options_in(text: &str) -> BTreeSet<String> {
    let words = text.split('`').filter_map(|word| word.strip_prefix("--"));
    words.map(str::to_owned).collect()
}

/// The long options that a program's help explains, behind `start`.
fn options_of(program: &Program, start: &str) -> Checked<BTreeSet<String>> {
    let help = run(program.command("--help"))?.stdout;
    let help = help.split_once(start).map_or(help.as_str(), |(_, rest)| rest);
    let option = |line: &str| {
        let line = line.trim_start();
        let line = line.split_once(", ").filter(|(short, _)| short.len() == 2).map_or(line, |(_, long)| long);
        let name = line.strip_prefix("--")?;
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(name.len());
        Some(name[..end].to_owned())
    };
    Ok(help.lines().filter_map(option).collect())
}

fn page() -> Checked<String> {
    fs::read_to_string(PAGE).map_err(|error| Failure(format!("{PAGE}: {error}")))
}
