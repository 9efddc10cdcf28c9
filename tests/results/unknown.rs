//! What nobody has told is not known: no figure stands for it, in text or in a document. Under the name of
//! iperf3 it is iperf3's zeros, for readers that expect numbers.

use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Cells, Checked, Failure, Finished, Folder, Program, Server, ensure, ours, shared, start_client,
};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_test_that_breaks_off_says_nothing_of_the_other_end() -> Checked {
    let _permit = shared();
    let mut cells = Cells::default();
    cells.add("text", || {
        let client = broken_off(&ours(), "-t 10 -b 10M")?;
        let rows = |word: &str| client.stdout.lines().filter(|line| line.trim_end().ends_with(word)).count();
        ensure!(rows("sender") == 1 && rows("receiver") == 0, "{client}");
        ensure!(client.stdout.contains("is not known"), "nothing is said\n{client}");
        Ok(())
    });
    cells.add("document, forward", || {
        let (client, end) = end_of(&ours(), "-t 10 -b 10M -J")?;
        ensure!(end["sum_sent"]["bytes"].is_u64(), "{client}");
        unknown(&end["streams"][0]["receiver"], "bytes", &client)?;
        unknown(&end["sum_received"], "bits_per_second", &client)?;
        unknown(&end["cpu_utilization_percent"], "remote_total", &client)
    });
    cells.add("document, reverse", || {
        let (client, end) = end_of(&ours(), "-t 10 -b 10M -R -J")?;
        ensure!(end["sum_received"]["bytes"].is_u64(), "{client}");
        unknown(&end["sum_sent"], "bytes", &client)
    });
    cells.add("document, UDP", || {
        let (client, end) = end_of(&ours(), "-u -t 10 -b 10M -J")?;
        ensure!(end["sum_sent"]["packets"].is_u64(), "{client}");
        unknown(&end["sum_received"], "packets", &client)?;
        unknown(&end["sum"], "lost_packets", &client)
    });
    cells.add("called as iperf3", || {
        let folder = Folder::new()?;
        let path = folder.path().join("iperf3");
        symlink(ours().path, &path)?;
        let (client, end) = end_of(&Program { path, ..ours() }, "-t 10 -b 10M -J")?;
        ensure!(end["sum_received"]["bytes"] == 0, "{client}");
        ensure!(end["cpu_utilization_percent"]["remote_total"].is_number(), "{client}");
        Ok(())
    });
    cells.run_at_once()
}

/// A client whose server is killed while the test runs.
fn broken_off(program: &Program, options: &str) -> Checked<Finished> {
    let server = Server::start(&ours(), "-i 0.2")?;
    let client = start_client(program, server.port, options)?;
    server.process.wait_for_stdout(" sec ", 2, LIMIT)?;
    drop(server);
    let client = client.finish(LIMIT)?;
    ensure!(client.code == Some(1), "exit status {:?} instead of 1\n{client}", client.code);
    Ok(client)
}

/// The same, with what the document says at the end.
fn end_of(program: &Program, options: &str) -> Checked<(Finished, Value)> {
    let client = broken_off(program, options)?;
    let end = client.document()?.at("/end")?.clone();
    Ok((client, end))
}

/// The key is there, and says that nothing is known.
fn unknown(object: &Value, key: &str, client: &Finished) -> Checked {
    let value = object.get(key);
    value
        .filter(|value| value.is_null())
        .map(|_| ())
        .ok_or_else(|| Failure(format!("{key}: {value:?}\n{client}")))
}
