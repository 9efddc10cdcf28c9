//! What `--version` prints.

use super::system::{JSON_VERSION, system_info};

/// What a program that calls itself `program` says of itself: its version, the machine, and what it can do.
/// Three lines as iperf3's; called as iperf3, the first one begins with iperf3's name and number.
#[must_use]
pub fn version_text(program: &str) -> String {
    const FEATURES: &str = "CPU affinity setting, IPv6 flow label, SCTP, MPTCP, TCP congestion algorithm setting, \
        sendfile / zerocopy, socket pacing, authentication, bind to device, support IPv4 don't fragment, \
        POSIX threads, io_uring";
    let version = if program == "iperf3" {
        JSON_VERSION.to_owned()
    } else {
        format!("{program} {} (speaks the protocol of iperf 3.21)", env!("CARGO_PKG_VERSION"))
    };
    format!("{version}\n{}\nOptional features available: {FEATURES}\n", system_info())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_of_which_the_first_is_the_name() {
        for (program, start) in [("iperf3", "iperf 3.21 (ringperf "), ("ringperf", "ringperf ")] {
            let text = version_text(program);
            assert_eq!(text.lines().count(), 3, "{text}");
            assert!(text.starts_with(start), "{text}");
            assert!(text.lines().nth(2).unwrap().starts_with("Optional features available: "), "{text}");
        }
    }
}
