//! Logins are judged on a thread of their own: a large key, a long file of users or a file system that does
//! not answer holds up nobody else.

use std::net::IpAddr;
use std::sync::mpsc;
use std::time::SystemTime;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::auth::{Authenticator, Reason, Refusal};
use crate::control::base::limits;
use crate::error::SetupError;
use crate::sys::start_thread;

/// Where sessions ask whether a client may run a test.
#[derive(Debug)]
pub(crate) struct Logins {
    questions: mpsc::SyncSender<Question>,
}

/// A login and where the answer goes.
struct Question {
    token: Option<String>,
    client: IpAddr,
    answer: oneshot::Sender<Result<String, Refusal>>,
}

impl Logins {
    /// Starts the thread. It ends with this value; nobody waits for it, since a file system that is gone may
    /// hold it for ever.
    pub(crate) fn judged_by(mut authenticator: Authenticator) -> Result<Self, SetupError> {
        let (questions, asked) = mpsc::sync_channel::<Question>(limits::WAITING_LOGINS);
        let judge = move || {
            for Question { token, client, answer } in asked {
                // Whoever has asked and is gone by now need not be judged, and should not use up a guess.
                if !answer.is_closed() {
                    let judged = authenticator.admit(token.as_deref(), client, SystemTime::now());
                    let _ = answer.send(judged);
                }
            }
        };
        let started = start_thread("login", judge);
        started.map_err(|source| SetupError::System { what: "starting the thread for logins", source })?;
        Ok(Self { questions })
    }

    /// Judges a token and returns its user's name.
    pub(crate) async fn admit(&self, token: Option<String>, client: IpAddr) -> Result<String, Refusal> {
        let late = || Refusal { reason: Reason::Late(limits::LOGIN), user: None };
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question { token, client, answer }).map_err(|_| late())?;
        timeout(limits::LOGIN, answered).await.map_err(|_| late())?.unwrap_or_else(|_| Err(late()))
    }
}
