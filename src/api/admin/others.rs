//! What the other nodes know: the questions that one node asks the others for an
//! operator, and what this one answers to theirs.
//!
//! A node answers what its own admin API shows, so that whoever asks one node sees all.
//! Answers are those of the moment and of the nodes that gave one in time; how many did
//! not is told with them. Who may ask was decided where the operator came in.

use std::fmt;

use fanfare_protocol::{AppId, ChannelName, SocketId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::connections::{self, ConnectionView};
use super::nodes::NodeView;
use super::{AdminParts, page};
use crate::hub::engine::{Engine, Respondent};

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(super) enum Question {
    /// How is the node? A [`NodeView`].
    Node,
    /// The connections of an app: a list of [`ConnectionView`], by socket id.
    Connections {
        app: String,
        after: Option<String>,
        limit: usize,
    },
    /// One connection: a [`connections::ConnectionDetail`], or nothing where it is not.
    Connection { socket_id: String },
    /// Whether a connection was there, and is closed now.
    Close { socket_id: String, reconnect: bool },
    /// The connections on a channel, as texts; nothing where it is busy all the time.
    Subscribers { app: String, channel: String },
}

/// What the other nodes have answered.
#[derive(Debug)]
pub(super) struct Answers<T> {
    /// One for each node that did.
    pub(super) answers: Vec<T>,
    /// Nodes that did not answer in time, or not as was expected.
    pub(super) unanswered: usize,
}

/// Asks the other nodes until all have answered, the time is over, or an answer is
/// enough.
pub(super) async fn ask<T: DeserializeOwned>(
    engine: &dyn Engine,
    question: &Question,
    is_enough: impl Fn(&T) -> bool,
) -> Answers<T> {
    let mut inquiry = engine.ask(super::json(question).as_bytes()).await;
    let mut answers = Vec::new();
    let mut unreadable = 0;
    while let Some(answer) = inquiry.next().await {
        match serde_json::from_slice(&answer) {
            Ok(answer) => {
                let is_last = is_enough(&answer);
                answers.push(answer);
                if is_last {
                    return Answers {
                        answers,
                        unanswered: 0,
                    };
                }
            }
            // A node of another version.
            Err(error) => {
                tracing::debug!(%error, "a node's answer is not understood");
                unreadable += 1;
            }
        }
    }
    Answers {
        answers,
        unanswered: inquiry.missing() + unreadable,
    }
}

/// Text about nodes that did not answer, for what was not found on those that did.
pub(super) fn but_for(unanswered: usize) -> String {
    match unanswered {
        0 => String::new(),
        1 => "; one node did not answer".to_owned(),
        number => format!("; {number} nodes did not answer"),
    }
}

impl AdminParts {
    async fn answer_to(&self, question: Question) -> Option<Vec<u8>> {
        let text = match question {
            Question::Node => super::json(&NodeView::of(self)),
            Question::Connections { app, after, limit } => {
                let after = after.map(|after| after.parse()).transpose().ok()?;
                let limit = limit.min(page::MAX_LIMIT + 1);
                let listed = match self.hub.find(&AppId::new(&app)) {
                    Some(app) => connections::here(self, &app, after, limit),
                    None => Vec::<ConnectionView>::new(),
                };
                super::json(&listed)
            }
            Question::Connection { socket_id } => {
                let id: SocketId = socket_id.parse().ok()?;
                super::json(&connections::detail(self, id).await)
            }
            Question::Close {
                socket_id,
                reconnect,
            } => {
                let id: SocketId = socket_id.parse().ok()?;
                super::json(&connections::close_here(self, id, reconnect))
            }
            Question::Subscribers { app, channel } => {
                let Some(app) = self.hub.find(&AppId::new(&app)) else {
                    return Some(b"[]".to_vec());
                };
                let channel = ChannelName::parse(&channel, &app.app().limits).ok()?;
                let ids = app.subscribers(&channel, page::MAX_LIMIT).await;
                let ids: Option<Vec<String>> =
                    ids.map(|ids| ids.iter().map(ToString::to_string).collect());
                super::json(&ids)
            }
        };
        Some(text.into_bytes())
    }
}

impl Respondent for AdminParts {
    fn answer<'a>(&'a self, question: &'a [u8]) -> BoxFuture<'a, Option<Vec<u8>>> {
        async move {
            let question = serde_json::from_slice(question).ok()?;
            self.answer_to(question).await
        }
        .boxed()
    }
}

impl fmt::Debug for AdminParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminParts").finish_non_exhaustive()
    }
}
