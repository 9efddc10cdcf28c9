//! The local time, as C writes it.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::time::SystemTime;

/// Longest text that a time becomes, in bytes.
const BYTES_MAX: usize = 1024;

/// The local time at `moment` in a format of strftime(3): what C's own makes of it in the locale `C`, also of
/// what is no conversion. A text of more than 1023 bytes is left out.
#[must_use]
pub fn local_time(moment: SystemTime, format: &str) -> String {
    let seconds = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    // A command line has no NUL in it, and a clock no year that is too large.
    let (Ok(format), Ok(seconds)) = (CString::new(format), libc::time_t::try_from(seconds)) else {
        return String::new();
    };
    let mut broken_down = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are good for the call, which keeps none of them. It reads the environment, which
    // this program never changes.
    let found = unsafe { libc::localtime_r(&raw const seconds, broken_down.as_mut_ptr()) };
    if found.is_null() {
        return String::new();
    }
    let mut text = [0_u8; BYTES_MAX];
    // SAFETY: `broken_down` has been filled, the format ends with a NUL, and no more of `text` is written
    // than there is.
    let length = unsafe {
        libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), broken_down.as_ptr())
    };
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whatever the time zone is in which this runs: noon of a day in the middle of a month.
    #[test]
    fn times_look_as_in_c() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_003_200);
        for (format, expected) in [
            ("%Y-%m %b|", "2026-11 Nov|"),
            ("%Ey|%Om|%10m|%-m", "26|11|0000000011|11"),
            ("%Q|%!|%", "%Q|%!|%"),
            ("%s: ", "1795003200: "),
            ("%%%n%t", "%\n\t"),
            ("no conversion é ", "no conversion é "),
            ("", ""),
        ] {
            assert_eq!(local_time(moment, format), expected, "{format}");
        }
        assert_eq!(local_time(moment, "%1023m").len(), 1023);
        assert_eq!(local_time(moment, "%1024m"), "");
        assert_eq!(local_time(moment, "%2147483647m"), "");
    }
}
