//! The runtime of the control thread: tokio-uring, or plain tokio where io_uring is denied.

use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::task::LocalSet;

use crate::sys::set_time_slice;

/// Time slice of the control thread on its processor: it has little to do, but that at once, also where
/// streams take all the time there is. Otherwise it would hear of the end of a test a few slices later.
const CONTROL_SLICE: Duration = Duration::from_micros(100);

/// Which runtime drives the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuntimeKind {
    /// Control connections are read and written through io_uring.
    Uring,
    /// Control connections are read and written through epoll.
    Plain,
}

/// Runs a future to its end on the calling thread. Tasks of its own are started with
/// `tokio::task::spawn_local`.
///
/// # Errors
/// The system's when neither runtime can be had.
pub(crate) fn block_on<F: Future>(make_future: impl FnOnce(RuntimeKind) -> F) -> io::Result<F::Output> {
    // Where the kernel refuses it, only time is lost.
    let _ = set_time_slice(CONTROL_SLICE);
    // Both runtimes need a socket pair for their signals, and panic where they get none.
    drop(UnixStream::pair()?);
    // Not tokio_uring::start, which panics where io_uring is denied.
    match tokio_uring::Runtime::new(&tokio_uring::builder()) {
        Ok(runtime) => Ok(runtime.block_on(make_future(RuntimeKind::Uring))),
        Err(_) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let tasks = LocalSet::new();
            Ok(tasks.block_on(&runtime, make_future(RuntimeKind::Plain)))
        }
    }
}
