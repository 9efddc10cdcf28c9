//! `--timestamps`, titles and `-d`, with the real program.

use crate::harness::{
    Checked, Failure, Finished, Program, Server, as_iperf3, ensure, libiperf, ours, pick, run, run_client,
    run_pair,
};

#[test]
fn every_line_begins_with_the_local_time() -> Checked {
    let server = Server::start(&ours(), "--timestamps=%s,")?;
    let client = run_client(&ours(), server.port, "-V -n 1M --timestamps=%s,")?;
    client.succeeded()?;
    // Somewhere in the world it is always this time.
    let mut refused = ours().command(&format!("-c 127.0.0.1 -p {} --timestamps=%z;%Z;", pick()));
    refused.env("TZ", "XYZ-05:45");
    let refused = run(refused)?;
    server.process.terminate()?;
    let server = server.finish()?;
    for text in [&client.stdout, &server.stdout, &server.stderr] {
        ensure!(text.lines().count() > 0, "nothing was printed\n{client}\n{server}");
        let is_stamped = |line: &str| {
            line.split_once(',')
                .is_some_and(|(seconds, _)| seconds.parse().is_ok_and(|time: u64| time > 1_700_000_000))
        };
        ensure!(text.lines().all(is_stamped), "a line without its time\n{text}");
    }
    ensure!(refused.stderr.starts_with("+0545;XYZ;ringperf: error - unable to connect"), "{refused}");
    Ok(())
}

/// Conversions of strftime(3), as other locales write them, with flags and widths, and what is none. iperf3
/// has room for 99 bytes.
#[test]
fn a_stamp_is_what_c_makes_of_its_format() -> Checked {
    let first_line = |program: &Program, format: &str| -> Checked<String> {
        let server = Server::start(program, &format!("--timestamps={format};"))?;
        server.process.terminate()?;
        let server = server.finish()?;
        let line = server.stdout.lines().find(|line| line.contains("Server listening on "));
        let (stamp, _) = line.and_then(|line| line.split_once(";Server")).unwrap_or_default();
        Ok(stamp.to_owned())
    };
    for format in [
        "%Ey|%Od|%Q|%5N|%10d|%-d|%_m|%^a|%#Z|%E|%Ez|%!|%+",
        "%a|%A|%b|%B|%C|%d|%D|%e|%F|%g|%G|%h|%j|%m",
        "%u|%U|%V|%w|%W|%x|%y|%Y|%z|%Z|%%|%O|%",
        "%EC|%EY|%Ex|%Om|%Oe|%Ou|%OU|%OV|%Ow|%OW|%Oy|%OB|%Ob",
        "%-j|%_j|%010j|%-y|%_5Y|%06Y|%^B|%#B|%^b|%#a|%^h|%5",
        "%f|%i|%J|%K|%L|%N|%o|%q|%v|%3Q|%:z|%::z|%-5d|%_-d|%^#Z",
    ] {
        // Between two of them a day may have begun.
        let stamps = [libiperf()?, ours(), libiperf()?].map(|program| first_line(&program, format));
        let [before, mine, after] = stamps;
        let (before, mine, after) = (before?, mine?, after?);
        ensure!(!mine.is_empty() && (mine == before || mine == after), "{format}: {mine:?}, not {before:?}");
    }
    Ok(())
}

/// The default is that of iperf3: `%c ` in the locale C, as in `Tue Nov 24 05:30:14 2026 `.
#[test]
fn the_time_stands_before_the_title_as_in_iperf3() -> Checked {
    for (stamp, program) in [("--timestamps=y", as_iperf3()?), ("--timestamps=y", libiperf()?)] {
        let options = format!("{stamp} -T title -n 1M --get-server-output");
        let pair = run_pair((&program, "--timestamps=x"), (&program, &options))?;
        let mut lines = pair.client.stdout.lines();
        let first = lines.next().unwrap_or_default();
        ensure!(first.starts_with("ytitle:  Connecting to host"), "{}", pair.client);
        let (own, servers) = pair.client.stdout.split_once("Server output:\n").unwrap_or_default();
        ensure!(own.ends_with("ytitle:  \n"), "{}", pair.client);
        ensure!(servers.starts_with("xAccepted connection"), "{}", pair.client);
        ensure!(servers.ends_with("\n\nytitle:  \nytitle:  iperf Done.\n"), "{}", pair.client);
        ensure!(pair.server.stdout.lines().all(|line| line.starts_with('x')), "{}", pair.server);
    }
    let server = Server::start(&ours(), "--timestamps")?;
    run_client(&ours(), server.port, "-n 1M")?.succeeded()?;
    server.process.terminate()?;
    let server = server.finish()?;
    let words: Vec<&str> = server.stdout.split_whitespace().take(5).collect();
    let [weekday, month, day, time, year] = words[..] else {
        return Err(Failure(format!("no time in front of the first line\n{server}")));
    };
    ensure!(weekday.len() == 3 && month.len() == 3 && day.parse::<u8>().is_ok(), "{server}");
    ensure!(time.matches(':').count() == 2 && year.parse().is_ok_and(|year: u32| year > 2020), "{server}");
    Ok(())
}

#[test]
fn debugging_shows_what_passes_between_the_two_ends() -> Checked {
    let seen = |run: &Finished, text: &str| run.stdout.contains(text);
    for (level, states, tcp) in [("--debug=1", false, false), ("--debug=3", true, false), ("-d", true, true)]
    {
        let pair = run_pair((&ours(), level), (&ours(), &format!("{level} -t 1 -b 5M")))?;
        for run in [&pair.client, &pair.server] {
            for frame in ["parameters:\n{\"tcp\":true", "send_results:\n{", "get_results:\n{"] {
                ensure!(seen(run, frame), "{level}: no {frame:?}\n{run}");
            }
            let (sent, received) = (seen(run, "State sent: "), seen(run, "State received: "));
            ensure!((sent, received) == (states, states), "{level}: states\n{run}");
        }
        ensure!(seen(&pair.client, "tcpi_snd_cwnd") == tcp, "{level}: TCP\n{}", pair.client);
    }
    let quiet = run_pair((&ours(), ""), (&ours(), "-t 1 -b 5M"))?;
    ensure!(!seen(&quiet.client, "results") && !seen(&quiet.client, "State"), "{}", quiet.client);
    Ok(())
}

#[test]
fn what_json_has_no_use_for_is_warned_of_and_stays_out_of_the_document() -> Checked {
    let pair = run_pair((&ours(), "-J -d"), (&ours(), "-J -d -V -f k -n 1M"))?;
    pair.client.document()?;
    pair.server.document()?;
    let warnings: Vec<&str> = pair.client.stderr.lines().filter(|line| line.contains("warning: ")).collect();
    let theirs = run_pair((&libiperf()?, "-J"), (&libiperf()?, "-J -d -V -f k -n 1M"))?;
    let expected: Vec<&str> = theirs.client.stderr.lines().collect();
    ensure!(!expected.is_empty() && warnings == expected, "{warnings:?}\n{expected:?}");
    ensure!(pair.client.stderr.contains("State received: "), "{}", pair.client);
    Ok(())
}
