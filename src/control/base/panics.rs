//! A panic ends the session or the stream that it happened in, and is reported in one line.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Once;
use std::task::Poll;

thread_local! {
    /// A panic of this thread will be told by whoever contains it.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
    /// Where the last contained panic of this thread happened, and why.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Does `work`; a panic in it becomes an error with its place in the source and its message, in one line.
///
/// State that a panic may leave half-changed must belong to `work` alone.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    keep_quiet();
    let outer = CONTAINED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    done.map_err(|payload| LAST.take().unwrap_or_else(|| message(payload.as_ref())))
}

/// Runs a future to its end; a panic in it becomes an error, as with [`contain`].
pub(crate) async fn contain_future<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|context| match contain(|| future.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        // A future that has panicked is not polled again.
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Lets the hook of this process, which prints several lines, have only the panics that nobody contains.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CONTAINED.get() {
                let place = info.location().map_or_else(String::new, |place| format!("{place}: "));
                LAST.set(Some(place + &message(info.payload())));
            } else {
                print(info);
            }
        }));
    });
}

fn message(payload: &dyn Any) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no reason given".to_owned()).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_with_its_place() {
        let error = contain(|| -> u8 { panic!("first\nsecond {}", 3) }).unwrap_err();
        assert!(
            error.starts_with("src/control/base/panics.rs:") && error.ends_with(": first second 3"),
            "{error}"
        );
        assert_eq!(contain(|| 4), Ok(4));
    }

    #[tokio::test]
    async fn a_future_that_panics_after_a_while_ends_only_itself() {
        let panics = async {
            tokio::task::yield_now().await;
            panic!("in the middle");
        };
        let error = contain_future(panics).await.unwrap_err();
        assert!(error.ends_with("in the middle"), "{error}");
        assert_eq!(contain_future(async { 5 }).await, Ok(5));
    }
}
