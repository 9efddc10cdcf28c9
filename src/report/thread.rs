//! The report thread: takes events as they come and prints what they give.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::escape::escape;
use super::{Reporter, RunEvent, ServerOutput};

/// Where the report goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Rows to standard output; warnings and errors to standard error, one line each.
    Text,
    /// Documents to standard output, and nothing to standard error.
    Json,
    /// Nowhere: the reporter keeps what it wants to keep.
    Nowhere,
}

/// The sending end of the report thread. Emitting never waits for a terminal.
#[derive(Debug)]
pub struct ReportHandle {
    messages: Option<Sender<Message>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

enum Message {
    Event(Box<RunEvent>),
    ServerOutput(oneshot::Sender<ServerOutput>),
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
            print_all(&inbox, reporter, sink)
        })?;
        Ok(Self { messages: Some(messages), thread: Some(thread) })
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

    /// Waits until everything is printed.
    ///
    /// # Errors
    /// The first failure to write, for example to a full disk.
    ///
    /// # Panics
    /// If the report thread has panicked.
    pub fn finish(mut self) -> io::Result<()> {
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

fn print_all(inbox: &Receiver<Message>, mut reporter: Box<dyn Reporter>, sink: Sink) -> io::Result<()> {
    let mut written = Ok(());
    for message in inbox {
        match message {
            Message::Event(event) => {
                let text = reporter.event(&event);
                if sink != Sink::Nowhere && !text.is_empty() && written.is_ok() {
                    written = write_out(&text);
                }
                if sink == Sink::Text {
                    write_error_line(&event);
                }
            }
            // Fails only when the session that asked is gone.
            Message::ServerOutput(answer) => drop(answer.send(reporter.server_output())),
        }
    }
    written
}

fn write_out(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

fn write_error_line(event: &RunEvent) {
    let line = match event {
        RunEvent::Warning(text) => format!("ringperf: warning: {}\n", escape(text)),
        RunEvent::Error(text) if text.starts_with("interrupt - ") => format!("ringperf: {}\n", escape(text)),
        RunEvent::Error(text) => format!("ringperf: error - {}\n", escape(text)),
        _ => return,
    };
    // Nothing is left to tell it to when standard error is gone.
    let _ = io::stderr().write_all(line.as_bytes());
}
