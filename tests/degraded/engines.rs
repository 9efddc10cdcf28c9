//! The same test with and without io_uring: the same document, and every datagram accounted for at any size.

use crate::harness::{Account, Cells, Checked, differences, ensure, ours, run_pair, shape};

#[test]
fn the_document_is_the_same_with_and_without_io_uring() -> Checked {
    let mut cells = Cells::default();
    for options in [
        "-n 1M",
        "-n 1M -R",
        "-n 1M --bidir -P 3",
        "-k 10 -l 4K",
        "-t 0.5 -O 1 -i 0.25",
        "-t 0.5 -b 10M -i 0.1",
        "-u -b 10M -n 140K -l 1400",
        "-u -b 10M -n 140K -l 1400 -R",
        "-u -b 10M -n 140K -l 1400 --bidir -P 2",
        "-u -b 10M -n 140K -l 1400 --no-offload",
    ] {
        cells.add(options, move || {
            let mut shapes = Vec::new();
            for engine in ["uring", "sync"] {
                let all = format!("{options} -J --engine {engine} --peer-engine {engine}");
                let document = run_pair((&ours(), ""), (&ours(), &all))?.client.document()?;
                if options.contains("-u") {
                    document.accounts()?.iter().try_for_each(Account::is_complete)?;
                }
                let mut shape = shape(&document.0);
                // Whether a short test has lasted long enough for a measurement is chance.
                shape.retain(|path| !path.contains(".latency.") && !path.contains(".rate_share"));
                shapes.push(shape);
            }
            let differences = differences(&shapes[0], &shapes[1]);
            ensure!(differences.is_empty(), "{differences}");
            Ok(())
        });
    }
    cells.run()
}

#[test]
fn datagrams_of_every_size_are_counted() -> Checked {
    let mut cells = Cells::default();
    for bytes in [16, 17, 100, 511, 512, 1448, 1472, 4096, 9000, 16_384, 32_753, 32_754, 65_507] {
        for engine in ["uring", "uring-zc", "sync"] {
            cells.add(format!("{bytes} bytes, {engine}"), move || {
                let options = format!("-u -b 50M -k 200 -l {bytes} -J --engine {engine}");
                let document = run_pair((&ours(), ""), (&ours(), &options))?.client.document()?;
                let accounts = document.accounts()?;
                ensure!(accounts[0].sent == Some(200), "not 200 sent: {accounts:?}");
                accounts.iter().try_for_each(Account::is_complete)
            });
        }
    }
    cells.run()
}
