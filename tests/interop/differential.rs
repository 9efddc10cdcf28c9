//! The same command line with iperf3 and with ringperf called iperf3: the same words, keys, types and exit
//! codes, printed on the same streams. What differs on purpose is listed here, and docs/COMPATIBILITY.md says
//! why.

use crate::harness::{
    Cells, Checked, Failure, Finished, Pair, Program, as_iperf3, differences, ensure, libiperf, line_shapes,
    run_pair, shape,
};

/// Options of the client, and of the server.
const MODES: [(&str, &str); 66] = [
    ("-t 1", ""),
    ("-t 1 -V", "-V"),
    ("-t 1 -R", ""),
    ("-t 1 -R -V", "-V"),
    ("-t 1 --bidir", ""),
    ("-t 1 --bidir -V", "-V"),
    ("-t 1 -P 2", ""),
    ("-t 1 -P 2 -R", ""),
    ("-t 1 -P 2 --bidir", ""),
    ("-t 1 -O 1", ""),
    ("-t 1 -O 1 -R", ""),
    ("-t 1 -O 1 --bidir -P 2", ""),
    ("-t 1 -i 0.5", "-i 0.5"),
    ("-t 1 -i 0", "-i 0"),
    ("-t 1 -b 10M", ""),
    ("-t 1 -b 10M/5 -l 1000", ""),
    ("-t 1 -f k", "-f K"),
    ("-t 1 -f g", "-f G"),
    ("-t 1 -w 200K -M 1400 -N", ""),
    ("-t 1 -C cubic", ""),
    ("-t 1 -T title --extra-data more", ""),
    ("-t 1 -S 0x10", ""),
    ("-t 1 -Z", ""),
    ("-t 1 -4", "-4"),
    ("-t 1 -6", "-6"),
    ("-t 1 --fq-rate 50M", ""),
    ("-t 1 --repeating-payload", ""),
    ("-t 1 --skip-rx-copy", ""),
    ("-u -t 1", ""),
    ("-u -t 1 -V", "-V"),
    ("-u -t 1 -R", ""),
    ("-u -t 1 --bidir", ""),
    ("-u -t 1 -P 2", ""),
    ("-u -t 1 -P 2 -R", ""),
    ("-u -t 1 -P 2 --bidir", ""),
    ("-u -t 1 -O 1", ""),
    ("-u -t 1 -b 10M -l 1400 --udp-counters-64bit", ""),
    ("-u -t 1 -b 10M --gsro", ""),
    ("-n 2M", ""),
    ("-k 20", ""),
    ("-n 2M -R", ""),
    ("-n 200K -u -b 5M", ""),
    ("-k 20 -u -b 5M -R", ""),
    ("-t 1 --get-server-output", ""),
    ("-t 1 --get-server-output -R", "-J"),
    ("-u -t 1 --get-server-output", ""),
    ("-t 1 --dscp ef -V", "-V"),
    ("-t 1 -m", ""),
    ("-t 1 -A 0", "-A 1"),
    ("-t 1 -B 127.0.0.1", "-B 127.0.0.1"),
    ("-t 1 --bind-dev lo", "--bind-dev lo"),
    ("-t 1 --snd-timeout 5000 --cntl-ka", "--snd-timeout 5000 --cntl-ka=10/1/3"),
    ("-t 1 -R --rcv-timeout 5000", "--rcv-timeout 5000"),
    ("-t 1 -l 1K -b 5M", ""),
    ("-t 1 -f t", "-f T"),
    ("-t 1 --timestamps=now", "--timestamps=then"),
    ("-t 1 -C reno -R -V", "-V"),
    ("-t 1 --bidir -f M -i 0.5", "-f m -i 0.5"),
    ("-t 1 -P 3 -V", "-V"),
    ("-u -t 1 -l 64 -b 1M", ""),
    ("-u -t 1 -R -O 1 -V", "-V"),
    ("-u -t 1 -b 10M --dont-fragment -S 32", ""),
    ("-u -t 1 --bidir -b 5M -V", "-V"),
    ("-u -t 1 -f m -i 0.5 -T title", "-i 0.5"),
    ("-u -t 1 -6 -b 5M", ""),
    ("-t 1", "--server-bitrate-limit 0 --server-max-duration 100 --idle-timeout 100"),
];

#[test]
fn texts_have_the_same_lines() -> Checked {
    let mut cells = Cells::default();
    for (client, server) in MODES {
        if server.contains("-J") {
            // A document in the middle of a text has the white space of whoever wrote it.
            continue;
        }
        cells.add(format!("client {client:?}, server {server:?}"), move || {
            compare(client, server, |ours, theirs| same_lines(&ours.stdout, &theirs.stdout))
        });
    }
    cells.run()
}

#[test]
fn documents_have_the_same_keys() -> Checked {
    let mut cells = Cells::default();
    for (client, server) in MODES {
        // -V and -f mean nothing to a document.
        if client.contains("-V") || client.contains("-f ") {
            continue;
        }
        cells.add(format!("client {client:?}, server {server:?}"), move || {
            compare(&format!("{client} -J"), &format!("{server} -J"), same_keys)
        });
    }
    cells.run()
}

/// Runs both pairs and compares what each end printed. Standard error and exit codes must be the same, too.
fn compare(client: &str, server: &str, same: fn(&Finished, &Finished) -> Checked) -> Checked {
    let reference = libiperf()?;
    let run = |program: &Program| run_pair((program, server), (program, client));
    let (ours, theirs): (Pair, Pair) = (run(&as_iperf3()?)?, run(&reference)?);
    for (end, ours, theirs) in
        [("client", &ours.client, &theirs.client), ("server", &ours.server, &theirs.server)]
    {
        let named = |Failure(why): Failure| Failure(format!("the {end}: {why}\n{ours}\n{theirs}"));
        same(ours, theirs).map_err(named)?;
        same_lines(&ours.stderr, &theirs.stderr).map_err(named)?;
        ensure!(ours.code == theirs.code, "the {end} left with {:?}, not {:?}", ours.code, theirs.code);
    }
    Ok(())
}

/// The same lines in the same order, apart from numbers.
fn same_lines(ours: &str, theirs: &str) -> Checked {
    let shapes = |text: &str| line_shapes(text).iter().map(|line| normalised(line)).collect();
    let (ours, theirs) = (first_appearances(shapes(ours)), first_appearances(shapes(theirs)));
    let missing: Vec<_> = theirs.iter().filter(|line| !ours.contains(line)).collect();
    let extra: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).collect();
    ensure!(ours == theirs, "other lines\nmissing: {missing:#?}\nnot iperf3's: {extra:#?}\n");
    Ok(())
}

/// What varies from run to run besides numbers (units, cookies, dates), and what differs on purpose.
fn normalised(line: &str) -> String {
    let mut line = line.to_owned();
    for unit in ["KBytes", "MBytes", "GBytes", "Kbits", "Mbits", "Gbits", "Bytes", "bits"] {
        line = line.replace(unit, "units");
    }
    // iperf3 has the columns of a sender above the rows of a lone receiver; its rows lack them.
    line = line.replace("Bitrate Retr Cwnd", "Bitrate");
    let line_of = |(start, name): (&str, &str)| line.trim_start().starts_with(start).then(|| name.to_owned());
    let varying = [("Cookie: ", "Cookie"), ("Time: ", "Time")];
    varying.into_iter().find_map(line_of).unwrap_or(line)
}

/// Each line once, where it comes first: how many intervals there are depends on the machine's mood.
fn first_appearances(lines: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for line in lines {
        if !seen.contains(&line) {
            seen.push(line);
        }
    }
    seen
}

/// The same keys of the same types at every level.
fn same_keys(ours: &Finished, theirs: &Finished) -> Checked {
    let differences = differences(&shape(&ours.document()?.0), &shape(&theirs.document()?.0));
    ensure!(differences.is_empty(), "{differences}");
    Ok(())
}
