//! The report thread: takes events as they come and writes what they give.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::output::{Output, Sink};
use super::{Reporter, RunEvent, ServerOutput};

/// The sending end of the report thread. Emitting never waits for a terminal.
#[derive(Debug)]
pub struct ReportHandle {
    messages: Option<Sender<Message>>,
    thread: Option<JoinHandle<Result<(), Unwritten>>>,
}

/// Some of the report could not be written. Standard error has been told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to write the report")]
pub struct Unwritten;

/// Tells the report what passes between the two ends, as far as `-d` asks for it.
#[derive(Clone, Debug)]
pub struct DebugLog {
    messages: Option<Sender<Message>>,
    level: u8,
}

impl DebugLog {
    /// A log that nobody reads.
    #[must_use]
    pub fn none() -> Self {
        Self { messages: None, level: 0 }
    }

    /// Tells `text`, complete lines, if `-d` asks for this level, which is 1 to 4.
    pub fn tell(&self, level: u8, text: impl FnOnce() -> String) {
        if let Some(messages) = self.messages.as_ref().filter(|_| level <= self.level) {
            // Fails only when the report is finished or its thread has panicked, which finish() tells.
            let _ = messages.send(Message::Event(Box::new(RunEvent::Debug(text()))));
        }
    }
}

enum Message {
    Event(Box<RunEvent>),
    ServerOutput(oneshot::Sender<ServerOutput>),
    Written(oneshot::Sender<Result<(), Unwritten>>),
}

impl ReportHandle {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's when it has no thread to give.
    pub fn start(reporter: Box<dyn Reporter>, sink: Sink) -> io::Result<Self> {
        let (messages, inbox) = mpsc::channel();
        let thread = thread::Builder::new().name("report".to_owned()).spawn(move || {
            crate::sys::block_signals();
            write_all(&inbox, reporter, Output::new(sink))
        })?;
        Ok(Self { messages: Some(messages), thread: Some(thread) })
    }

    /// A log that tells this report everything up to `level`, which is that of `-d`: 0 for none, to 4.
    ///
    /// [`Self::finish`] waits until all logs of a level above 0 are gone.
    #[must_use]
    pub fn debug_log(&self, level: u8) -> DebugLog {
        DebugLog { messages: self.messages.clone().filter(|_| level > 0), level }
    }

    /// Hands an event over.
    pub fn emit(&self, event: RunEvent) {
        self.send(Message::Event(Box::new(event)));
    }

    /// What a server sends to a client that asked for its output: all that was reported of this test so far.
    pub async fn server_output(&self) -> Option<ServerOutput> {
        let (answer, question) = oneshot::channel();
        self.send(Message::ServerOutput(answer));
        question.await.ok()
    }

    /// Waits until everything that was handed over so far is written.
    ///
    /// # Errors
    /// [`Unwritten`] if the last write failed, for example to a full disk.
    pub async fn written(&self) -> Result<(), Unwritten> {
        let (answer, question) = oneshot::channel();
        self.send(Message::Written(answer));
        question.await.unwrap_or(Err(Unwritten))
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// [`Unwritten`] if the last write failed, for example to a full disk.
    ///
    /// # Panics
    /// If the report thread has panicked.
    pub fn finish(mut self) -> Result<(), Unwritten> {
        self.messages = None;
        match self.thread.take() {
            Some(thread) => thread.join().expect("the report thread does not panic"),
            None => Ok(()),
        }
    }

    fn send(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // Fails only when the thread has panicked, which finish() tells.
            let _ = messages.send(message);
        }
    }
}

fn write_all(
    inbox: &Receiver<Message>,
    mut reporter: Box<dyn Reporter>,
    mut output: Output,
) -> Result<(), Unwritten> {
    for message in inbox {
        match message {
            Message::Event(event) => {
                output.report(&reporter.event(&event));
                output.complain(&reporter.complaint(&event));
                if matches!(*event, RunEvent::Listening { .. } | RunEvent::Done) {
                    output.rest();
                }
            }
            // These fail only when the session that asked is gone.
            Message::ServerOutput(answer) => drop(answer.send(reporter.server_output())),
            Message::Written(answer) => drop(answer.send(state(&output))),
        }
    }
    state(&output)
}

fn state(output: &Output) -> Result<(), Unwritten> {
    if output.is_well() { Ok(()) } else { Err(Unwritten) }
}
