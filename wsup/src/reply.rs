//! Answers messages, as `--reply` says.

use actix::{Actor, Context, Handler};
use actix_ws_client::{Payload, event};
use tokio::sync::mpsc;

use crate::buffer::Buffer;
use crate::condition::{Condition, Looked};
use crate::input::Kind;
use crate::screen::eprint_line;
use crate::template::Template;

/// How many replies may wait to be sent. Further ones are dropped, with a line on stderr.
pub(crate) const MAX_REPLIES: usize = 64;

/// What is sent when a message comes for which a condition holds.
pub(crate) struct Reply {
    pub(crate) condition: Condition,
    pub(crate) template: Template,
}

/// Looks at each message. The first reply whose condition holds is sent.
pub(crate) struct Replies {
    pub(crate) replies: Vec<Reply>,
    pub(crate) kind: Kind,
    pub(crate) buffer: Buffer,
    /// Each reply with the epoch of its message.
    pub(crate) sender: mpsc::Sender<(u64, Payload)>,
}

impl Replies {
    /// Returns the reply to a message.
    ///
    /// # Errors
    /// Why there is none though a condition holds.
    fn to(&self, text: &str) -> Result<Option<Payload>, String> {
        let looked = Looked::at(text);
        let mut replies = self.replies.iter();
        let Some(reply) = replies.find(|reply| reply.condition.holds(&looked)) else {
            return Ok(None);
        };
        let filled = reply.template.fill(looked.json());
        let text = filled.map_err(|at| format!("the message has nothing at {at}"))?;
        match self.buffer.fits(text.len()) {
            true => Ok(self.kind.payload(text.into_bytes())),
            false => Err("longer than --send-buffer".into()),
        }
    }
}

impl Actor for Replies {
    type Context = Context<Replies>;
}

impl Handler<event::Message> for Replies {
    type Result = ();

    fn handle(&mut self, message: event::Message, _: &mut Self::Context) {
        // Text that was not checked comes as bytes.
        let Ok(text) = std::str::from_utf8(message.payload.as_bytes()) else { return };
        let sent = self.to(text).and_then(|reply| match reply {
            None => Ok(()),
            Some(reply) => self.sender.try_send((message.epoch, reply)).map_err(|err| match err {
                mpsc::error::TrySendError::Full(_) => format!("{MAX_REPLIES} replies wait already"),
                mpsc::error::TrySendError::Closed(_) => "the run ends".into(),
            }),
        });
        if let Err(why) = sent {
            eprint_line(&format!("wsup: --reply was not sent: {why}"));
        }
    }
}
