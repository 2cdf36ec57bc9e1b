//! The closing handshake and the replies that the protocol owes (RFC 6455, 5.5 and 7).

use bytestring::ByteString;

use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::error::ProtocolError;
use crate::proto::message::{Incoming, Outgoing};

/// What has been said about the end of one connection, by whom, and what is owed.
///
/// What a method returns is to be encoded next, as it is.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Whether a Close of ours was given out.
    sent: bool,
    /// Whether a Close of the peer came.
    received: bool,
    /// Whether the peer broke the protocol.
    breached: bool,
    /// Whose the first Close on the wire is.
    by: Option<By>,
    /// Its code, if it has one.
    code: Option<CloseCode>,
    /// Its reason; mostly there is none, and an open connection has no room for it.
    reason: Option<Box<ByteString>>,
}

/// Who closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// We did.
    Local,
    /// The peer did.
    Remote,
    /// It was lost without a Close.
    Nobody,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The code of the first Close frame on the wire, ours or the peer's; 1005 if it was empty, 1006 if
    /// there was none (RFC 6455, 7.1.5).
    pub code: CloseCode,
    /// The reason in that frame; often empty.
    pub reason: ByteString,
    /// Whether both Close frames were exchanged and the protocol was kept.
    pub clean: bool,
    /// Whose frame it was.
    pub by: By,
}

impl Session {
    /// A session in which nobody has sent a Close.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of what came and gives out the reply that is owed: a Pong to a Ping (RFC 6455,
    /// 5.5.3), a Close to a Close (5.5.1).
    pub fn receive(&mut self, item: &Incoming) -> Option<Outgoing> {
        match item {
            Incoming::Ping(payload) if self.can_send() => Some(Outgoing::Pong(payload.clone())),
            Incoming::Close(frame) => {
                self.received = true;
                self.first(By::Remote, frame.as_ref());
                self.send(frame.as_ref().map(CloseFrame::echo))
            }
            _ => None,
        }
    }

    /// Begins to close the connection, with an empty frame if `None`; returns `None` if a Close of ours
    /// has gone out already.
    pub fn close(&mut self, frame: Option<CloseFrame>) -> Option<Outgoing> {
        if !self.sent {
            self.first(By::Local, frame.as_ref());
        }
        self.send(frame)
    }

    /// Takes note of a breach and gives out the Close that it earns; returns `None` if a Close of ours
    /// has gone out already.
    pub fn fail(&mut self, err: &ProtocolError) -> Option<Outgoing> {
        self.breached = true;
        let frame = CloseFrame::new(err.close_code(), err.to_string())
            .expect("an error's code may be sent and its text is short");
        self.close(Some(frame))
    }

    /// Whether messages and pings may be sent: no Close has gone by in either direction.
    #[inline]
    #[must_use]
    pub fn can_send(&self) -> bool {
        !self.is_closing()
    }

    /// Whether a Close has gone by in at least one direction.
    #[inline]
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.sent || self.received
    }

    /// Whether both Close frames were exchanged, so that the socket can go (RFC 6455, 7.1.1).
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.sent && self.received
    }

    /// How the connection ended, if it ended now.
    #[must_use]
    pub fn closure(&self) -> Closure {
        let none = if self.by.is_some() { CloseCode::NO_STATUS } else { CloseCode::ABNORMAL };
        Closure {
            code: self.code.unwrap_or(none),
            reason: self.reason.as_deref().cloned().unwrap_or_default(),
            clean: self.is_done() && !self.breached,
            by: self.by.unwrap_or(By::Nobody),
        }
    }

    /// Takes note of a Close frame, if it is the first.
    fn first(&mut self, by: By, frame: Option<&CloseFrame>) {
        if self.by.is_some() {
            return;
        }
        self.by = Some(by);
        self.code = frame.map(CloseFrame::code);
        let reason = frame.map(CloseFrame::reason).filter(|reason| !reason.is_empty());
        self.reason = reason.map(|reason| Box::new(reason.into()));
    }

    /// Gives out our Close, the first time.
    fn send(&mut self, frame: Option<CloseFrame>) -> Option<Outgoing> {
        (!std::mem::replace(&mut self.sent, true)).then_some(Outgoing::Close(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::message::{ControlPayload, Payload};

    fn frame(code: u16, reason: &'static str) -> Option<CloseFrame> {
        Some(CloseFrame::new(code.into(), reason).unwrap())
    }

    fn ping() -> Incoming {
        Incoming::Ping(ControlPayload::new("are you there").unwrap())
    }

    /// Holds the closure against code, reason, `clean` and who closed.
    fn assert_closure(session: &Session, code: u16, reason: &str, clean: bool, by: By) {
        let expected = Closure { code: code.into(), reason: reason.into(), clean, by };
        assert_eq!(session.closure(), expected);
    }

    #[test]
    fn a_ping_is_owed_a_pong_with_its_payload() {
        let pong = Outgoing::Pong(ControlPayload::new("are you there").unwrap());
        assert_eq!(Session::new().receive(&ping()), Some(pong));
    }

    #[test]
    fn messages_and_pongs_are_owed_nothing() {
        let mut session = Session::new();
        assert_eq!(session.receive(&Incoming::Message(Payload::from("news"))), None);
        assert_eq!(session.receive(&Incoming::Pong(ControlPayload::default())), None);
        assert!(session.can_send() && !session.is_closing() && !session.is_done());
    }

    #[test]
    fn no_pong_follows_a_close_of_either_side() {
        let mut session = Session::new();
        session.close(None);
        assert_eq!(session.receive(&ping()), None);

        let mut session = Session::new();
        session.receive(&Incoming::Close(None));
        assert_eq!(session.receive(&ping()), None);
    }

    #[test]
    fn the_peers_close_is_echoed_without_its_reason() {
        let mut session = Session::new();
        let reply = session.receive(&Incoming::Close(frame(4001, "moving")));
        assert_eq!(reply, Some(Outgoing::Close(frame(4001, ""))));
        assert!(session.is_done() && session.is_closing() && !session.can_send());
        assert_closure(&session, 4001, "moving", true, By::Remote);
    }

    #[test]
    fn an_empty_close_is_answered_by_an_empty_one() {
        let mut session = Session::new();
        assert_eq!(session.receive(&Incoming::Close(None)), Some(Outgoing::Close(None)));
        assert_closure(&session, 1005, "", true, By::Remote);
    }

    #[test]
    fn our_close_is_done_when_the_peer_has_answered() {
        let mut session = Session::new();
        assert_eq!(session.close(frame(1000, "done")), Some(Outgoing::Close(frame(1000, "done"))));
        assert!(session.is_closing() && !session.can_send() && !session.is_done());
        assert_closure(&session, 1000, "done", false, By::Local);

        assert_eq!(session.receive(&Incoming::Close(frame(1001, "too"))), None);
        assert!(session.is_done());
        assert_closure(&session, 1000, "done", true, By::Local);
    }

    #[test]
    fn a_close_is_sent_once() {
        let mut session = Session::new();
        assert!(session.close(None).is_some());
        assert_eq!(session.close(frame(1000, "")), None);
        assert_eq!(session.fail(&ProtocolError::InvalidUtf8), None);
        assert_closure(&session, 1005, "", false, By::Local);

        let mut session = Session::new();
        assert!(session.receive(&Incoming::Close(None)).is_some());
        assert_eq!(session.receive(&Incoming::Close(None)), None);
        assert_eq!(session.close(frame(1000, "")), None);
        assert_closure(&session, 1005, "", true, By::Remote);
    }

    #[test]
    fn a_breach_is_answered_with_the_code_it_earns_and_never_clean() {
        let mut session = Session::new();
        let reply = session.fail(&ProtocolError::MessageTooLarge { limit: 5 });
        assert_eq!(reply, Some(Outgoing::Close(frame(1009, "message of more than 5 bytes"))));
        assert_closure(&session, 1009, "message of more than 5 bytes", false, By::Local);
        session.receive(&Incoming::Close(None));
        assert_closure(&session, 1009, "message of more than 5 bytes", false, By::Local);
    }

    #[test]
    fn a_breach_during_our_close_leaves_its_code_but_is_not_clean() {
        let mut session = Session::new();
        session.close(frame(1000, ""));
        assert_eq!(session.fail(&ProtocolError::ReservedBit), None);
        session.receive(&Incoming::Close(None));
        assert_closure(&session, 1000, "", false, By::Local);
    }

    #[test]
    fn without_a_close_nobody_closed() {
        assert_closure(&Session::new(), 1006, "", false, By::Nobody);
    }
}
