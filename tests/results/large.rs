//! The largest messages: parameters up to the last byte that a server reads, and results of as many streams
//! as there can be.

use crate::harness::{
    Checked, Document, Failure, Finished, Server, alone, ensure, libiperf, ours, run_client, run_pair, shared,
};

/// What a server reads at most (iperf3's limit since 3.18).
const PARAMETERS_BYTES: usize = 8192;

/// What a client says of parameters that are too long.
fn told_length(client: &Finished) -> Checked<usize> {
    let line = client.failed_with_one_line()?;
    let length = line.split("the test parameters take ").nth(1).and_then(|rest| rest.split(' ').next());
    let length = length.and_then(|length| length.parse().ok());
    length.ok_or_else(|| Failure(format!("no length in {line}")))
}

#[test]
fn parameters_may_be_as_long_as_a_server_reads() -> Checked {
    let _permit = shared();
    for option in ["--title", "--extra-data"] {
        for program in [ours(), libiperf()?] {
            let server = Server::start(&program, "")?;
            let run = |bytes: usize| {
                run_client(&ours(), server.port, &format!("-n 1K -J {option} {}", "x".repeat(bytes)))
            };
            let text = |bytes: usize| {
                run_client(&ours(), server.port, &format!("-n 1K {option} {}", "x".repeat(bytes)))
            };
            let too_many = 10_000;
            let around = told_length(&text(too_many)?)? - too_many;
            let most = PARAMETERS_BYTES - around;
            for bytes in [most - 1, most] {
                let client = run(bytes)?;
                client.succeeded()?;
                let received = client.document()?.totals()?.received;
                ensure!(received > 0, "nothing was received with {bytes} bytes\n{client}");
            }
            let told = told_length(&text(most + 1)?)?;
            ensure!(
                told == PARAMETERS_BYTES + 1,
                "{told} bytes were told instead of {}",
                PARAMETERS_BYTES + 1
            );
        }
    }
    println!("A4: parameters of {PARAMETERS_BYTES} bytes are taken, one more is an error of the client");
    Ok(())
}

/// Both ends have results of 256 streams, and the server's whole report travels as well.
#[test]
fn results_of_as_many_streams_as_there_can_be_are_complete() -> Checked {
    let _permit = alone();
    for (options, streams) in [("-n 16M -i 0.1", 256), ("-u -b 200K -l 500 -t 1 -i 0.1", 256)] {
        let options = format!("{options} -P 128 --bidir --get-server-output -J");
        let pair = run_pair((&ours(), "-J"), (&ours(), &options))?;
        let client = pair.client.document()?;
        let check = || {
            for (document, pointer) in
                [(&client, "/end/streams"), (&client, "/server_output_json/end/streams")]
            {
                let found = document.list(pointer)?.len();
                ensure!(found == streams, "{found} streams in {pointer}");
            }
            let server = Document(client.at("/server_output_json")?.clone());
            for document in [&client, &server] {
                if options.contains("-u ") {
                    document.datagrams_add_up()?;
                } else {
                    document.adds_up()?;
                }
            }
            ensure!(client.integer("/end/sum_received/bytes")? > 0, "nothing was received");
            Ok(())
        };
        check().map_err(|Failure(why)| Failure(format!("{why}\n{}", pair.client)))?;
        println!("A4: {options}: {} bytes of document", pair.client.stdout.len());
    }
    Ok(())
}
