//! Options of the data sockets.

use super::ParameterError;
use super::number::{amount, c_number, out_of_range, whole, within};
use crate::config::SocketConfig;
use crate::config::options::{ClientOptions, CongestionOption};
use crate::config::ranges::{CONGESTION_BYTES, DSCP, FLOW_LABEL, MSS_BYTES, TOS, WINDOW_BYTES};
use crate::units::{parse_bytes, parse_rate};

pub(super) fn socket(options: &ClientOptions) -> Result<SocketConfig, ParameterError> {
    let window = amount("-w", options.window.as_deref(), parse_bytes)?;
    let window = within("-w", window, &WINDOW_BYTES)?;
    let mss = options.set_mss.as_deref().map_or(Ok(0), |mss| whole("-M", mss, &MSS_BYTES))?;
    let label = options.flowlabel.as_deref();
    Ok(SocketConfig {
        window_bytes: (window != 0).then_some(window),
        mss_bytes: (mss != 0).then_some(mss),
        no_delay: options.no_delay,
        congestion: congestion(&options.congestion)?,
        fq_bits_per_second: amount("--fq-rate", options.fq_rate.as_deref(), parse_rate)?,
        tos: type_of_service(options)?,
        flow_label: label.map(|label| c_number("-L", label, &FLOW_LABEL)).transpose()?,
    })
}

pub(super) fn congestion(option: &CongestionOption) -> Result<Option<String>, ParameterError> {
    match option.given.as_deref() {
        Some(name) if !CONGESTION_BYTES.contains(name.len()) => {
            Err(out_of_range(CONGESTION_BYTES.rule, "-C", name))
        }
        name => Ok(name.map(str::to_owned)),
    }
}

/// The whole byte. The parser leaves the last one of -S and --dscp.
fn type_of_service(options: &ClientOptions) -> Result<u8, ParameterError> {
    match (options.tos.as_deref(), options.dscp.as_deref()) {
        (None, None) => Ok(0),
        (_, Some(name)) => match named_type_of_service(name) {
            Some(byte) => Ok(byte),
            None => Ok(c_number("--dscp", name, &DSCP)? << 2),
        },
        (Some(number), None) => c_number("-S", number, &TOS),
    }
}

/// The byte of a name: a DSCP (RFC 2474, 2597, 3246 and 5865) shifted, or one of RFC 1349's.
fn named_type_of_service(name: &str) -> Option<u8> {
    let name = name.to_ascii_lowercase();
    let digit = |byte: u8, max: u8| (b'1'..=max).contains(&byte).then(|| byte - b'0');
    match name.as_bytes() {
        b"ef" => Some(46 << 2),
        b"va" => Some(44 << 2),
        b"lowdelay" => Some(0x10),
        b"throughput" => Some(0x08),
        b"reliability" => Some(0x04),
        b"cs0" => Some(0),
        [b'c', b's', class] => Some(digit(*class, b'7')? << 5),
        [b'a', b'f', class, drop] => Some((digit(*class, b'4')? << 5) | (digit(*drop, b'3')? << 3)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What iperf3 puts into its parameters for these.
    #[test]
    fn names_of_dscp() {
        for (name, byte) in [
            ("cs0", 0),
            ("CS7", 224),
            ("va", 176),
            ("ef", 184),
            ("EF", 184),
            ("af11", 40),
            ("af13", 56),
            ("af43", 152),
            ("lowdelay", 16),
            ("Throughput", 8),
            ("reliability", 4),
        ] {
            assert_eq!(named_type_of_service(name), Some(byte), "{name}");
        }
        for name in ["", "af", "af44", "af10", "af51", "cs8", "cs", "le", "mincost", "afé", "46"] {
            assert_eq!(named_type_of_service(name), None, "{name}");
        }
    }
}
