//! UDP between two ringperfs: every engine in every direction, and every datagram accounted for.
//!
//! Tests at a rate must lose nothing: a receiver's buffer holds hundreds of milliseconds of it.

use crate::harness::{
    Account, Cells, Checked, Document, Failure, Packets, Pair, Server, Way, alone, ensure, heavy, ours,
    run_client, run_pair, shared,
};

/// A rate that a busy machine keeps up with, in datagrams of less than an Ethernet packet.
const STEADY: &str = "-t 0.5 -i 0.2 -b 50M -l 1400";

#[test]
fn engine_uring() -> Checked {
    engine("uring")
}

#[test]
fn engine_uring_zc() -> Checked {
    engine("uring-zc")
}

#[test]
fn engine_sync() -> Checked {
    engine("sync")
}

/// One engine at both ends, with offload at both, at one or at none of them.
fn engine(name: &'static str) -> Checked {
    if name.starts_with("uring") && io_uring::IoUring::new(2).is_err() {
        let server = Server::start(&ours(), "-1")?;
        run_client(&ours(), server.port, &format!("-u --engine {name} -t 0.5"))?.failed_with_one_line()?;
        return Ok(());
    }
    let mut cells = Cells::default();
    for (at_server, at_client) in
        [("", ""), ("", "--no-offload"), ("--no-offload", ""), ("--no-offload", "--no-offload")]
    {
        for way in Way::ALL {
            for parallel in [1, 3] {
                let options = format!(
                    "{STEADY} -P {parallel} {} --engine {name} --peer-engine {name} {at_client}",
                    way.option()
                );
                cells.add(format!("server {at_server}: {options}"), move || {
                    let pair = run(at_server, &options)?;
                    complete(&pair)?;
                    names_engines(&pair.client.document()?, "/ringperf/engines", name)?;
                    names_engines(&pair.client.document()?, "/ringperf/peer/engines", name)?;
                    names_engines(&pair.server.document()?, "/ringperf/engines", name)
                });
            }
        }
    }
    cells.run()
}

/// The reports name the engine that was asked for, and senders have a pacing report.
fn names_engines(document: &Document, pointer: &str, name: &str) -> Checked {
    let engines = document.list(pointer)?;
    ensure!(!engines.is_empty(), "{pointer} is empty");
    for engine in engines {
        let sends = engine["flow"] == "send";
        // A receiver has nothing to copy from, so zero-copy is the sender's matter.
        let used = if !sends && name == "uring-zc" { "uring" } else { name };
        ensure!(engine["asked"] == name && engine["used"] == used, "{pointer}: {engine}");
        ensure!(engine["pacing"]["bursts"].as_u64().is_some_and(|bursts| bursts > 0) == sends, "{engine}");
    }
    Ok(())
}

/// Runs one test whose two documents add up.
fn run(server: &str, client: &str) -> Checked<Pair> {
    let pair = run_pair((&ours(), &format!("-J -i 0.2 {server}")), (&ours(), &format!("-u -J {client}")))?;
    adds_up(&pair).map_err(|Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server)))?;
    Ok(pair)
}

/// Datagrams are received or lost, intervals and streams add up to totals, and bytes belong to datagrams.
fn adds_up(pair: &Pair) -> Checked {
    let (client, server) = (pair.client.document()?, pair.server.document()?);
    client.datagrams_add_up()?;
    client.streams_add_up()?;
    server.datagrams_add_up()?;
    for account in client.accounts()? {
        account.adds_up()?;
        account.is_tidy()?;
    }
    if client.integer("/start/test_start/omit")? == 0 {
        client.accounts_agree()?;
    }
    let block = client.integer("/start/test_start/blksize")?;
    for Packets { sent, sent_bytes, highest, lost, received_bytes, .. } in client.packets()? {
        ensure!(sent_bytes == sent * block, "{sent} datagrams of {block} bytes are {sent_bytes} bytes");
        let received = highest - lost;
        ensure!(received_bytes == received * block, "{received} of {block} bytes are {received_bytes}");
    }
    for account in server.accounts()?.iter().filter(|account| account.flow == "receive") {
        account.is_tidy()?;
    }
    Ok(())
}

/// Nothing was lost either.
fn complete(pair: &Pair) -> Checked {
    let check = |account: &Account| {
        let why = |Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server));
        account.is_complete().map_err(why)
    };
    pair.client.document()?.accounts()?.iter().try_for_each(check)
}

#[test]
fn without_a_limit_every_loss_has_its_place() -> Checked {
    let mut cells = Cells::default();
    for engine in ["uring", "uring-zc", "sync"] {
        for offload in ["", "--no-offload"] {
            for way in Way::ALL {
                let options = format!(
                    "-t 0.5 -b 0 -l 1400 --engine {engine} --peer-engine {engine} {offload} {}",
                    way.option()
                );
                cells.add(options.clone(), move || run(offload, &options).map(drop));
            }
        }
    }
    cells.run_heavy()
}

#[test]
fn sizes_and_options_lose_nothing() -> Checked {
    let mut cells = Cells::default();
    for options in [
        "-b 2M -l 16",
        "-b 5M -l 64",
        "-b 50M -l 1460",
        "-b 50M -l 65507",
        "-b 50M -l 65507 -R",
        "-b 50M -6",
        "-b 50M -l 1400 -6 -R",
        "-b 50M -l 1400 --udp-counters-64bit",
        "-b 50M -l 1400 --udp-counters-64bit --bidir",
        "-b 50M -l 1400 --skip-rx-copy",
        "-b 50M -l 1400 --skip-rx-copy -R",
        "-b 50M -l 1400 --skip-rx-copy --udp-counters-64bit",
        "-b 50M -l 1400 --repeating-payload",
        "-b 50M -l 1400 --dont-fragment",
    ] {
        cells.add(options, move || complete(&run("", &format!("-t 0.5 {options}"))?));
    }
    cells.run()
}

#[test]
fn as_many_datagrams_as_were_asked_for() -> Checked {
    let mut cells = Cells::default();
    // Options, and datagrams in each direction.
    for (options, goal) in [
        ("-k 1000 -b 100M", 1000),
        ("-k 1000 -b 100M -P 3", 1000),
        ("-k 1000 -b 100M --no-offload", 1000),
        ("-k 1 -b 100M", 1),
        ("-n 1M -b 100M", 749),
        ("-n 1M -b 100M --engine sync", 749),
        ("-n 1M -b 100M -P 3", 749),
        ("-k 1000 -b 100M -R", 1000),
        ("-n 1M -b 100M -R", 749),
        ("-k 1000 -b 100M --bidir", 1000),
    ] {
        cells.add(options, move || {
            let pair = run("", &format!("-l 1400 {options}"))?;
            complete(&pair)?;
            for packets in pair.client.document()?.packets()? {
                let Packets { sends, sent, .. } = packets;
                // A server that sends has no goal: it goes on until the client has had enough.
                ensure!(if sends { sent == goal } else { sent >= goal }, "{goal} were due: {packets:?}");
            }
            Ok(())
        });
    }
    cells.run()
}

#[test]
fn the_omitted_part_is_in_the_account() -> Checked {
    let mut cells = Cells::default();
    for way in Way::ALL {
        let options = format!("-t 0.5 -O 1 -b 20M -l 1400 {}", way.option());
        cells.add(options.clone(), move || {
            let pair = run("", &options)?;
            complete(&pair)?;
            let client = pair.client.document()?;
            for (packets, account) in client.packets()?.iter().zip(client.accounts()?) {
                let Packets { sent, .. } = *packets;
                // A second is left out and half a second is counted.
                let all = account.sent.unwrap_or(0);
                ensure!(sent > 0 && all > 2 * sent, "{sent} counted of {all}");
            }
            Ok(())
        });
    }
    cells.run()
}

/// On loopback nothing is lost on the way. A receiver with next to no buffer loses a lot, and knows where.
#[test]
fn a_small_buffer_loses_in_the_socket() -> Checked {
    let _permit = heavy();
    for options in ["", "-R", "--engine sync", "--no-offload"] {
        let pair = run("", &format!("-t 0.5 -b 0 -l 1400 -w 8K {options}"))?;
        for account in pair.client.document()?.accounts()? {
            ensure!(account.lost_in_socket > Some(0), "{options}: nothing was lost: {account:?}");
            ensure!(account.lost_in_network == Some(0), "{options}: lost elsewhere: {account:?}");
        }
    }
    Ok(())
}

#[test]
fn a_burst_is_no_larger_than_asked_for() -> Checked {
    let mut cells = Cells::default();
    for engine in ["uring", "sync"] {
        for offload in ["", "--no-offload"] {
            for way in ["", "-R"] {
                let options =
                    format!("-t 0.5 -b 100M/20 -l 1400 --engine {engine} --peer-engine {engine} {way}");
                cells.add(format!("{options} {offload}"), move || {
                    let pair = run(offload, &format!("{options} {offload}"))?;
                    complete(&pair)?;
                    let pointer = if way.is_empty() { "engines" } else { "peer/engines" };
                    let document = pair.client.document()?;
                    let pacing = document.at(&format!("/ringperf/{pointer}/0/pacing"))?;
                    let largest = pacing["burst_max"].as_u64().unwrap_or(u64::MAX);
                    ensure!((1..=20).contains(&largest), "bursts of up to {largest}: {pacing}");
                    let datagrams = pacing["burst_mean"].as_f64().unwrap_or(0.0)
                        * pacing["bursts"].as_f64().unwrap_or(0.0);
                    let sent = document.number("/end/sum_sent/packets")?;
                    ensure!(
                        (sent - 0.5..sent + 0.5).contains(&datagrams),
                        "bursts of {datagrams} together: {sent}, {pacing}"
                    );
                    ensure!(pacing["target_bits_per_second"] == 100e6, "another target: {pacing}");
                    Ok(())
                });
            }
        }
    }
    cells.run()
}

/// Whoever else wants the processor can only make a paced sender late, so one good run of a few is enough.
fn once_of_three(options: &str, check: fn(&Document) -> Checked) -> Checked {
    let _permit = alone();
    let mut result = Ok(());
    for _ in 0..3 {
        result = check(&run("", options)?.client.document()?);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// On a quiet machine 99 of 100 datagrams leave within a millisecond of their time. On a busy one some wait
/// for a processor as long as the scheduler likes, so only most of them are held to it here.
#[test]
fn a_slow_sender_is_even() -> Checked {
    once_of_three("-t 1 -b 10M -l 1400", |document| {
        let between = document.at("/ringperf/engines/0/pacing/inter_departure")?;
        let even_us = 1400.0 * 8.0 / 10.0;
        for (percentile, slack_us) in [("p50_us", 50.0), ("p90_us", 1000.0), ("p99_us", 20_000.0)] {
            let time_us = between[percentile].as_f64().unwrap_or(f64::INFINITY);
            let late_us = (time_us - even_us).abs();
            ensure!((0.0..=slack_us).contains(&late_us), "{percentile} is {late_us} us off: {between}");
        }
        Ok(())
    })
}

#[test]
fn a_fast_sender_keeps_the_rate() -> Checked {
    once_of_three("-t 2 -b 1G -l 1460", |document| {
        let rate = document.number("/end/sum_sent/bits_per_second")?;
        // Never more; less where a processor is slow or has other things to do.
        ensure!((0.9e9..=1.002e9).contains(&rate), "{rate} bit/s instead of 1 Gbit/s");
        document.accounts()?.iter().try_for_each(Account::is_complete)
    })
}

#[test]
fn auto_steps_down_from_zero_copy_that_is_none() -> Checked {
    let _permit = heavy();
    let pair = run("", "-t 0.5 -b 0 -l 1400")?;
    let document = pair.client.document()?;
    let engine = document.at("/ringperf/engines/0")?;
    let reason = engine["reason"].as_str().unwrap_or_default();
    ensure!(engine["asked"] == "auto", "asked for: {engine}");
    ensure!(engine["used"] != "uring-zc" && !reason.is_empty(), "loopback copies, always: {engine}");
    let tried = engine["used"] == "uring" && io_uring::IoUring::new(2).is_ok();
    ensure!(!tried || reason.contains("stepped down from uring-zc"), "another reason: {engine}");
    Ok(())
}

#[test]
fn the_server_takes_the_engine_that_the_client_asks_for() -> Checked {
    let _permit = shared();
    for (flow, way) in [("receive", ""), ("send", "-R")] {
        let pair = run("", &format!("{STEADY} --peer-engine sync {way}"))?;
        let document = pair.client.document()?;
        let engine = document.at("/ringperf/peer/engines/0")?;
        ensure!(engine["flow"] == flow && engine["used"] == "sync", "{engine}");
    }
    Ok(())
}

#[test]
fn text_says_what_became_of_the_datagrams() -> Checked {
    let _permit = shared();
    let pair = run_pair((&ours(), ""), (&ours(), "-u -t 0.5 -b 10M -l 1400 --bidir -V"))?;
    for expected in [
        "Datagrams[TX-C]: sent ",
        "Datagrams[RX-C]: sent ",
        ", lost 0, duplicates 0, reordered 0",
        "Pacing: target ",
    ] {
        ensure!(pair.client.stdout.contains(expected), "no {expected:?}\n{}", pair.client);
    }
    Ok(())
}
