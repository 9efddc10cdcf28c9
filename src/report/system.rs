//! What a report says of the program, the machine and the time.

use std::time::{Duration, SystemTime};

/// The version of iperf3 that this program is like.
const IPERF3: &str = "iperf 3.21";

/// The first line of a verbose text report, with or without what iperf3 does not say.
pub(super) fn text_version(extras: bool) -> &'static str {
    if extras { concat!("ringperf ", env!("CARGO_PKG_VERSION"), " (iperf 3.21 protocol)") } else { IPERF3 }
}

/// The `version` of a document, likewise. Scripts look for iperf's own name and number in front.
pub(super) fn json_version(extras: bool) -> &'static str {
    if extras { JSON_VERSION } else { IPERF3 }
}

/// What documents and `--version` say.
pub(super) const JSON_VERSION: &str = concat!("iperf 3.21 (ringperf ", env!("CARGO_PKG_VERSION"), ")");

/// The kernel's words about itself, as `uname -a` orders them.
pub(super) fn system_info() -> String {
    let Ok(name) = nix::sys::utsname::uname() else { return "unknown".to_owned() };
    [name.sysname(), name.nodename(), name.release(), name.version(), name.machine()]
        .map(|part| part.to_string_lossy().into_owned())
        .join(" ")
}

/// Time since 1970; zero for a clock that is set before that.
pub(super) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A moment as RFC 1123 writes it: `Tue, 24 Nov 2026 05:30:14 GMT`.
pub(super) fn rfc_1123(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = since_epoch(time).as_secs();
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days);
    let weekday = usize::try_from(days % 7).map_or("", |index| DAYS[index]);
    let month = usize::try_from(month).map_or("", |index| MONTHS[index]);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Year, month (0 is January) and day of the month, so many days after the first of January 1970.
///
/// Years begin in March here, so that a leap day comes last, and 400 of them have 146,097 days.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    /// From the first of March of the year 0 to 1970.
    const DAYS_BEFORE_1970: u64 = 719_468;
    let days = days_since_1970 + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_since_march + 2) / 5 + 1;
    let month = (month_since_march + 2) % 12;
    let year = 400 * era + year_of_era + u64::from(month < 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since 1970, and what `date -u -R` makes of them.
    #[test]
    fn dates() {
        let cases = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (1_795_506_270, "Tue, 24 Nov 2026 07:44:30 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(rfc_1123(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
        assert_eq!(
            rfc_1123(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            "Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }

    #[test]
    fn the_kernel_has_a_name() {
        let info = system_info();
        assert!(info.starts_with("Linux "), "{info}");
        assert!(info.split(' ').count() >= 5, "{info}");
    }
}
