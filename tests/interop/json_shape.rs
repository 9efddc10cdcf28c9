//! ringperf's JSON has the keys and types of iperf3's, at every level, at both ends.

use crate::harness::{
    Cells, Checked, Document, Failure, Pair, differences, ensure, libiperf, ours, run_pair, shape,
};

/// The one key of ringperf's own, at the top of a document.
const OUR_KEY: &str = "ringperf";

#[test]
fn documents_have_the_shape_of_iperf3() -> Checked {
    let reference = libiperf()?;
    let mut cells = Cells::default();
    for options in [
        "",
        "-R",
        "--bidir",
        "-P 2",
        "-P 2 --bidir",
        "-O 1",
        "-T title --extra-data more",
        "-b 50M",
        "-n 5M",
        "-u",
        "-u -R",
        "-u --bidir",
        "-u -P 2",
        "-u -P 2 --bidir",
        "-u -O 1 -R",
        "-u -l 1400 -b 10M/10 --udp-counters-64bit",
        "-u --gsro --dont-fragment -b 10M",
        "-u -b 10M -n 1M",
    ] {
        let reference = reference.clone();
        cells.add(options, move || {
            let ends = if options.contains("-n") { "" } else { "-t 1" };
            let options = format!("-J {ends} {options}");
            let theirs = run_pair((&reference, "-J"), (&reference, &options))?;
            let ours = run_pair((&ours(), "-J"), (&ours(), &options))?;
            compare(&ours, &theirs)
        });
    }
    cells.run()
}

fn compare(ours: &Pair, theirs: &Pair) -> Checked {
    let mut why = String::new();
    for (end, ours, theirs) in
        [("client", &ours.client, &theirs.client), ("server", &ours.server, &theirs.server)]
    {
        let differences =
            differences(&shape(&without_our_key(ours.document()?)?.0), &shape(&theirs.document()?.0));
        if !differences.is_empty() {
            why += &format!("the {end}'s document\n{differences}");
        }
    }
    if why.is_empty() { Ok(()) } else { Err(Failure(why)) }
}

fn without_our_key(mut document: Document) -> Checked<Document> {
    let members = document.0.as_object_mut().ok_or_else(|| Failure("a document is an object".to_owned()))?;
    ensure!(members.shift_remove(OUR_KEY).is_some(), "no key {OUR_KEY:?} in a document of ringperf");
    Ok(document)
}
