//! What can be known of zero-copy where a device takes no packet in pieces.

use crate::harness::{Cable, Checked, DEVICE, Document, ensure, ours, set_scatter_gather, shared};

/// A kernel that copies packets together for the device does not say so.
#[test]
fn a_device_without_scatter_gather_is_named() -> Checked {
    let _permit = shared();
    let cable = Cable::lay(1500, false)?;
    let server = cable.start_server(&ours(), "")?;
    let (used, reason) = engine(&cable.run_client(&ours(), server.port, "-t 1 -J")?.document()?)?;
    ensure!(used == "uring" && reason.contains("copied 16 of the first 16"), "{used}: {reason}");
    cable.client.within(|| Ok(set_scatter_gather(DEVICE, false)?))?;
    for options in ["-t 1 -J", "-t 1 -J -6"] {
        let (used, reason) = engine(&cable.run_client(&ours(), server.port, options)?.document()?)?;
        let named = "; cable has no scatter-gather, so it copies all of them there, which it does not say";
        ensure!(used == "uring-zc" && reason.contains(named), "{used}: {reason}");
    }
    Ok(())
}

fn engine(document: &Document) -> Checked<(String, String)> {
    let text = |name: &str| document.text(&format!("/ringperf/engines/0/{name}")).map(str::to_owned);
    Ok((text("used")?, text("reason")?))
}
