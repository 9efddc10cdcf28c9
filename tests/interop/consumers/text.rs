//! Readers of the text as they are in the field: they look for words, or count lines from the end.

use crate::harness::{
    Cells, Checked, Finished, Program, Server, as_iperf3, ensure, libiperf, line_shapes, ours, pick, run,
    run_client, run_pair,
};

/// Tests that are over soon, and one whose receivers are too small for what comes.
const MODES: [&str; 14] = [
    "-n 1M",
    "-n 1M -R",
    "-n 1M --bidir",
    "-n 1M -P 2",
    "-n 1M -b 20M",
    "-n 1M -V",
    "-n 1M -P 2 --bidir -V",
    "-u -n 100K -b 5M",
    "-u -n 100K -b 5M -R",
    "-u -n 100K -b 5M --bidir",
    "-u -n 100K -b 5M -P 2",
    "-u -n 100K -b 5M -V",
    "-u -t 1 -b 0 -l 1000 -w 4K",
    "-u -t 1 -b 0 -l 1000 -w 4K -R -V",
];

/// The words that lines are found by.
const WORDS: [&str; 6] = ["sender", "receiver", "bits/sec", "SUM", "connected", "error"];

/// What a program reads: how it does that, and the lines it finds, without their numbers.
type Reading = (&'static str, Vec<String>);

/// What programs read of a client's text, as far as it is the same in each run.
fn readings(text: &str) -> Vec<Reading> {
    let mut shapes = line_shapes(text);
    for shape in &mut shapes {
        for unit in ["KBytes", "MBytes", "GBytes", "Kbits", "Mbits", "Gbits", "Bytes", "bits"] {
            *shape = shape.replace(unit, "units");
        }
    }
    let rows = "units/sec";
    let find =
        |word: &str| -> Vec<String> { shapes.iter().filter(|line| line.contains(word)).cloned().collect() };
    let tail = |count: usize| shapes[shapes.len().saturating_sub(count)..].to_vec();
    let summary = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| line.contains("sender") || line.contains("receiver")).collect()
    };
    vec![
        ("grep sender", find("sender")),
        ("grep receiver", find("receiver")),
        ("grep bits/sec | tail -1", find(rows).split_off(find(rows).len().saturating_sub(1))),
        ("grep SUM | grep -E 'sender|receiver'", summary(find("SUM"))),
        ("grep connected", find("connected")),
        ("grep -i error", find("error")),
        ("tail -n 3 | head -n 1", tail(3).into_iter().take(1).collect()),
        ("tail -n 5 | grep sender", tail(5).into_iter().filter(|line| line.contains("sender")).collect()),
        ("tail -n 1", tail(1)),
    ]
}

/// The rate that stands in front of its unit in a row.
fn rate(row: &str) -> Option<f64> {
    let words: Vec<&str> = row.split_whitespace().collect();
    let unit = words.iter().position(|word| word.ends_with("bits/sec"))?;
    words.get(unit.checked_sub(1)?)?.parse().ok()
}

/// The text up to iperf3's last line; behind it is what only ringperf says.
fn parts(text: &str) -> (String, String) {
    const LAST: &str = "iperf Done.\n";
    let end = text.find(LAST).map_or(text.len(), |at| at + LAST.len());
    (text[..end].to_owned(), text[end..].to_owned())
}

#[test]
fn readers_find_in_ours_what_they_find_in_iperf3s_text() -> Checked {
    let (reference, called) = (libiperf()?, as_iperf3()?);
    let mut cells = Cells::default();
    for options in MODES {
        let (reference, called) = (reference.clone(), called.clone());
        cells.add(options, move || {
            let of = |program: &Program| run_pair((program, ""), (program, options));
            let theirs = of(&reference)?.client;
            let expected = readings(&theirs.stdout);
            let as_iperf3 = of(&called)?;
            same_readings(&expected, &as_iperf3.client.stdout, &as_iperf3.client)?;
            for end in [&as_iperf3.client, &as_iperf3.server] {
                ensure!(end.stderr.is_empty(), "something on standard error\n{end}");
            }
            ensure!(parts(&as_iperf3.client.stdout).1.is_empty(), "{}", as_iperf3.client);
            let pair = of(&ours())?;
            let (as_iperf3s, own) = parts(&pair.client.stdout);
            same_readings(&expected, &as_iperf3s, &pair.client)?;
            ensure!(own.starts_with("Engine: "), "nothing of our own\n{}", pair.client);
            for lines in [&own, &pair.client.stderr, &pair.server.stderr] {
                no_word_for_readers(lines, &pair.client)?;
            }
            let server = pair.server.stdout.split_once("Engine: ").map_or("", |(_, own)| own);
            ensure!(!server.is_empty(), "nothing of our own\n{}", pair.server);
            no_word_for_readers(server, &pair.server)?;
            let loses = options.contains("-w 4K");
            ensure!(!loses || own.contains(" (network 0, receiving socket "), "no loss\n{}", pair.client);
            let paces = options.starts_with("-u -n");
            ensure!(!paces || own.contains("      Pacing: "), "no pacing\n{}", pair.client);
            Ok(())
        });
    }
    cells.run()
}

/// A reader of iperf3's text finds the same lines in ours, and numbers in them.
fn same_readings(expected: &[Reading], text: &str, run: &Finished) -> Checked {
    for ((how, theirs), (_, ours)) in expected.iter().zip(readings(text)) {
        ensure!(*theirs == ours, "{how}: {ours:#?} instead of {theirs:#?}\n{run}");
    }
    let last = text.lines().rfind(|line| line.contains("bits/sec")).unwrap_or_default();
    ensure!(rate(last).is_some_and(|rate| rate > 0.0), "no rate in {last:?}\n{run}");
    Ok(())
}

fn no_word_for_readers(lines: &str, run: &Finished) -> Checked {
    let lower = lines.to_lowercase();
    for word in WORDS {
        ensure!(!lower.contains(&word.to_lowercase()), "{word:?} in {lines}\n{run}");
    }
    Ok(())
}

#[test]
fn what_a_server_sends_of_its_output_is_iperf3s_unless_more_is_asked_for() -> Checked {
    let called = as_iperf3()?;
    let own = "Engine: ";
    for (client, options, more) in [
        (libiperf()?, "", false),
        (called.clone(), "", false),
        (called.clone(), "--ringperf-report", true),
        (ours(), "", true),
    ] {
        for server in [ours(), called.clone()] {
            let options = format!("-n 1M --get-server-output {options}");
            let pair = run_pair((&server, ""), (&client, &options))?;
            let (_, output) = pair.client.stdout.split_once("Server output:\n").unwrap_or_default();
            let (output, _) = output.split_once("\n\n").unwrap_or_default();
            ensure!(output.contains(" receiver"), "no output\n{}", pair.client);
            ensure!(output.contains(own) == more, "{more}: {output}\n{}", pair.client);
        }
        let pair = run_pair((&ours(), "-J"), (&client, &format!("-J -n 1M --get-server-output {options}")))?;
        let document = pair.client.document()?;
        let version = document.text("/server_output_json/start/version")?;
        ensure!(version.starts_with("iperf 3.21"), "{version}");
        ensure!(version.contains("ringperf") == more, "{more}: {version}");
    }
    Ok(())
}

/// A long option and an environment variable, which a wrapper can set, bring what only ringperf says.
#[test]
fn called_as_iperf3_more_can_be_asked_for() -> Checked {
    let server = Server::start(&ours(), "")?;
    for (option, variable, more) in [
        ("", None, false),
        ("", Some("0"), false),
        ("", Some(""), false),
        ("", Some("1"), true),
        ("--ringperf-report", None, true),
        ("--ri", None, true),
    ] {
        for format in ["", "-J", "--json-stream"] {
            let options = format!("-c 127.0.0.1 -p {} -n 1M {format} {option}", server.port);
            let mut command = as_iperf3()?.command(&options);
            if let Some(value) = variable {
                command.env("RINGPERF_REPORT", value);
            }
            let client = run(command)?;
            client.succeeded()?;
            let own = if format.is_empty() { "\nEngine: " } else { "ringperf" };
            ensure!(client.stdout.contains(own) == more, "{option} {variable:?}: {more}\n{client}");
        }
    }
    Ok(())
}

/// What iperf3 says of a failure, on the same stream, to the letter.
#[test]
fn called_as_iperf3_failures_are_told_in_its_words() -> Checked {
    let (reference, called) = (libiperf()?, as_iperf3()?);
    let taken = Server::start(&reference, "")?;
    let limited = "--server-bitrate-limit 1M";
    let servers = [Server::start(&reference, limited)?, Server::start(&called, limited)?];
    let nobody = pick();
    let mut cases = vec![
        format!("-c 127.0.0.1 -p {nobody}"),
        "-c no.such.host.invalid".to_owned(),
        format!("-s -p {}", taken.port),
    ];
    cases.extend(servers.iter().map(|server| format!("-c 127.0.0.1 -p {} -t 1 -b 10M", server.port)));
    for case in cases {
        let text = |program: &Program| run(program.command(&case));
        let (theirs, mine) = (text(&reference)?, text(&called)?);
        // The reference has a main program of its own, which calls itself by another name.
        let spoken = |run: &Finished| {
            let text = run.stderr.replace("iperf client exited with error: ", "iperf3: error - ");
            text.replace("iperf server recovered from error: ", "iperf3: error - ")
        };
        if case.starts_with("-c") {
            ensure!(spoken(&mine) == spoken(&theirs), "other words\n{mine}\n{theirs}");
        }
        ensure!(mine.code == Some(1), "{mine}");
        // Of two errors in one document a reader finds the last.
        let error = |program: &Program| {
            let document = run(program.command(&format!("{case} -J")))?.document()?;
            Ok(document.text("/error")?.to_owned())
        };
        let (mine, theirs): (Checked<String>, Checked<String>) = (error(&called), error(&reference));
        let (mine, theirs) = (mine?, theirs?);
        ensure!(mine == theirs, "{case}: {mine:?} instead of {theirs:?}");
    }
    Ok(())
}

#[test]
fn called_as_iperf3_no_word_is_a_task() -> Checked {
    let called = as_iperf3()?;
    for word in ["loopback", "man", "completions", "help"] {
        let alone = run(called.command(word))?;
        let expected = "iperf3: parameter error - must either be a client (-c) or server (-s)";
        ensure!(alone.code == Some(1) && alone.stderr.starts_with(expected), "{alone}");
        let pair = run_pair((&called, word), (&called, &format!("-n 1M {word}")))?;
        for run in [&pair.client, &pair.server] {
            ensure!(run.stderr.is_empty(), "a stray word is news\n{run}");
        }
    }
    Ok(())
}

/// The two ends of a ringperf and a stock one: what our server prints is no more than that of iperf3.
#[test]
fn a_log_of_a_server_that_is_called_iperf3_is_iperf3s() -> Checked {
    let (reference, called) = (libiperf()?, as_iperf3()?);
    let log = |program: &Program| -> Checked<Vec<String>> {
        let server = Server::start(program, "-V")?;
        for options in ["-n 1M", "-u -n 100K -b 5M -R"] {
            run_client(&reference, server.port, options)?.succeeded()?;
        }
        server.process.terminate()?;
        Ok(line_shapes(&server.finish()?.stdout))
    };
    let beginnings = |lines: Vec<String>| -> Vec<String> {
        let begins = |line: &String| line.split_whitespace().next().unwrap_or_default().to_owned();
        lines.iter().map(begins).collect()
    };
    let (mine, theirs) = (beginnings(log(&called)?), beginnings(log(&reference)?));
    let extra: Vec<_> = mine.iter().filter(|line| !theirs.contains(line)).collect();
    ensure!(extra.is_empty(), "not iperf3's: {extra:#?}\n{theirs:#?}");
    Ok(())
}
