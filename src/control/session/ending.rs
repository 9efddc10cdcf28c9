//! The end of a test, as far as it is the same at both ends: streams are closed and reported, and what the
//! peer says of its own is read.

use std::fmt::Display;
use std::time::Duration;

use super::link::Link;
use super::running::keep_last;
use crate::config::Flow;
use crate::control::base::limits;
use crate::control::streams::set::Streams;
use crate::protocol::{PeerReport, ServerText};
use crate::report::{RunEvent, ServerOutput};

/// Lets receivers take what is still under way; says whether they have come to its end. UDP knows none, so
/// there it is silence that tells.
pub(super) async fn drain_receivers(streams: &mut Streams) -> bool {
    if streams.is_udp() {
        streams.stop_receivers();
    }
    streams.wait_stopped(Flow::Receive, limits::DRAIN).await
}

/// Joins the stream threads, and reports their last interval and their warnings.
pub(super) async fn close_streams(
    streams: &mut Streams,
    interval: Option<Duration>,
    tell: &dyn Fn(RunEvent),
) {
    let rows = streams.finish().await;
    if rows.is_empty() {
        return;
    }
    for last in rows.into_iter().filter(|last| keep_last(last, interval)) {
        tell(RunEvent::Interval(last));
    }
    streams.warnings().into_iter().map(RunEvent::Warning).for_each(tell);
}

/// Reports of a test that has its results which streams ended before their time.
pub(super) fn warn_of_faults(streams: &Streams, tell: &dyn Fn(RunEvent)) {
    streams.faults().into_iter().map(RunEvent::Warning).for_each(tell);
}

/// Most bytes of the results of a peer that has the same streams and no report of its own.
pub(super) fn results_bytes_max(streams: &Streams) -> u32 {
    limits::results_bytes(u32::try_from(streams.all().len()).expect("at most 256 streams"))
}

/// The part that has come from a peer with the same streams.
///
/// # Errors
/// Why it makes no sense.
pub(super) fn read_part(link: &Link, heard: &[u8], streams: &Streams) -> Result<PeerReport, String> {
    link.log_received("part", heard);
    PeerReport::decode(heard, &streams.ids()).map_err(|strange| strange.to_string())
}

/// The warning that there is no part of the peer's.
pub(super) fn part_is_unknown(whose: &str, why: impl Display) -> RunEvent {
    RunEvent::Warning(format!("the {whose}'s own figures are not known: {why}"))
}

/// A server's report of itself, as it travels.
pub(super) fn to_wire(output: ServerOutput) -> ServerText {
    match output {
        ServerOutput::Text(text) => ServerText::Text(text),
        ServerOutput::Json(value) => ServerText::Json(value),
    }
}

/// A server's report of itself, as its client's report has it.
pub(super) fn to_report(output: ServerText) -> ServerOutput {
    match output {
        ServerText::Text(text) => ServerOutput::Text(text),
        ServerText::Json(value) => ServerOutput::Json(value),
    }
}
