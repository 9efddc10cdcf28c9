//! Whether zero-copy is real: `auto` looks at the first releases, since where the kernel copies after all,
//! copying at once is cheaper.

use super::Engine;
use super::recorder::Recorder;
use crate::sys::error_message;

/// `auto` judges by so many releases.
const JUDGED_RELEASES: u32 = 16;

/// Counts the first releases of a sender.
pub(super) struct ZeroCopyProbe {
    automatic: bool,
    judged: u32,
    copied: u32,
}

impl ZeroCopyProbe {
    /// Without `automatic` it never has anything to say.
    pub(super) fn new(automatic: bool) -> Self {
        Self { automatic, judged: 0, copied: 0 }
    }

    /// A send was released.
    pub(super) fn released(&mut self, copied: bool) {
        if self.judged < JUDGED_RELEASES {
            self.judged += 1;
            self.copied += u32::from(copied);
        }
    }

    /// Why zero-copy should be given up now, if it should.
    pub(super) fn fallback_reason(&self) -> Option<String> {
        let mostly_copied = self.copied * 2 > JUDGED_RELEASES;
        (self.automatic && self.judged == JUDGED_RELEASES && mostly_copied).then(|| {
            let copied = self.copied;
            format!(
                "the kernel copied {copied} of the first {JUDGED_RELEASES} zero-copy sends, as on loopback and veth"
            )
        })
    }

    /// A zero-copy send failed; why zero-copy should be given up for that, if it should.
    pub(super) fn fallback_reason_of_failure(&self, errno: i32) -> Option<String> {
        let unsupported = matches!(errno, libc::EOPNOTSUPP | libc::EINVAL | libc::EFAULT | libc::ENOMEM);
        (self.automatic && unsupported).then(|| {
            let error = std::io::Error::from_raw_os_error(errno);
            format!("zero-copy sends fail here ({})", error_message(&error))
        })
    }

    /// Puts down that copying sends do the work from now on.
    pub(super) fn step_down(recorder: &mut Recorder, fallback_reason: &str) {
        recorder.explain(Engine::Uring, format!("{fallback_reason}; stepped down from uring-zc"));
    }

    /// Puts down why zero-copy was kept to the end.
    pub(super) fn verdict(&self, recorder: &mut Recorder) {
        if !self.automatic {
            return;
        }
        let (judged, copied) = (self.judged, self.copied);
        let verdict = if judged < JUDGED_RELEASES {
            format!("too few sends to judge zero-copy; the kernel copied {copied} of {judged}")
        } else {
            format!(
                "the kernel took the sends by reference and says that it copied {copied} of the first {judged}"
            )
        };
        let copies = recorder.copying_device().map_or_else(String::new, |device| {
            format!("; {device} has no scatter-gather, so it copies all of them there, which it does not say")
        });
        recorder.explain(Engine::UringZc, format!("{verdict}{copies}"));
    }
}
