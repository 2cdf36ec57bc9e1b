//! The closing handshake, and the replies that the protocol requires (RFC 6455, 5.5 and 7).

use bytestring::ByteString;

use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::error::ProtocolError;
use crate::proto::message::{Incoming, Outgoing};

/// The state of the closing handshake of one connection.
///
/// Encode the frame that a method returns next, unchanged.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Whether our Close was returned, to be sent.
    sent: bool,
    /// Whether the peer's Close was received.
    received: bool,
    /// Whether the peer broke the protocol.
    breached: bool,
    /// The sender of the first Close frame; `None` if there was none.
    by: Option<By>,
    /// The code in that frame, if it has one.
    code: Option<CloseCode>,
    /// The reason in that frame. Boxed: it is usually absent, and an open connection keeps this
    /// struct.
    reason: Option<Box<ByteString>>,
}

/// The side that closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// Our side.
    Local,
    /// The peer.
    Remote,
    /// Neither: the connection was lost without a Close frame.
    Nobody,
}

/// The outcome of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The code of the first Close frame, ours or the peer's; 1005 if that frame was empty, 1006 if
    /// there was none (RFC 6455, 7.1.5).
    pub code: CloseCode,
    /// The reason in that frame, often empty.
    pub reason: ByteString,
    /// Whether both sides have sent a Close frame and the peer has kept to the protocol.
    pub clean: bool,
    /// The sender of that frame.
    pub by: By,
}

impl Session {
    /// Creates a session in which neither side has sent a Close.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records what was received and returns the reply that the protocol requires: a Pong to a Ping
    /// (RFC 6455, 5.5.3), a Close to a Close (5.5.1).
    pub fn receive(&mut self, item: &Incoming) -> Option<Outgoing> {
        match item {
            Incoming::Ping(payload) if self.can_send() => Some(Outgoing::Pong(payload.clone())),
            // RFC 6455, 5.5.1: the reply has the code of the peer. None is due if ours was sent
            // first.
            Incoming::Close(frame) => {
                self.received = true;
                self.first(By::Remote, frame.as_ref());
                self.send(frame.as_ref().map(CloseFrame::echo))
            }
            _ => None,
        }
    }

    /// Begins the closing handshake, with an empty frame if `frame` is `None`. Returns `None` if
    /// our Close was already sent.
    pub fn close(&mut self, frame: Option<CloseFrame>) -> Option<Outgoing> {
        if !self.sent {
            self.first(By::Local, frame.as_ref());
        }
        self.send(frame)
    }

    /// Records a breach by the peer and returns the Close frame that reports it. Returns `None` if
    /// our Close was already sent.
    pub fn fail(&mut self, err: &ProtocolError) -> Option<Outgoing> {
        self.breached = true;
        let frame = CloseFrame::new(err.close_code(), err.to_string())
            .expect("an error's code may be sent and its text is short");
        self.close(Some(frame))
    }

    /// Returns whether messages and pings may be sent: neither side has sent a Close.
    #[inline]
    #[must_use]
    pub fn can_send(&self) -> bool {
        !self.is_closing()
    }

    /// Returns whether at least one side has sent a Close.
    #[inline]
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.sent || self.received
    }

    /// Returns whether both sides have sent a Close, so that the socket can be closed (RFC 6455,
    /// 7.1.1).
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.sent && self.received
    }

    /// Returns the outcome of the connection if it ended now.
    #[must_use]
    pub fn closure(&self) -> Closure {
        // RFC 6455, 7.1.5: 1005 for a Close without a code, 1006 for no Close at all.
        let none = if self.by.is_some() { CloseCode::NO_STATUS } else { CloseCode::ABNORMAL };
        Closure {
            code: self.code.unwrap_or(none),
            reason: self.reason.as_deref().cloned().unwrap_or_default(),
            clean: self.is_done() && !self.breached,
            by: self.by.unwrap_or(By::Nobody),
        }
    }

    /// Records a Close frame, unless one was recorded before.
    fn first(&mut self, by: By, frame: Option<&CloseFrame>) {
        if self.by.is_some() {
            return;
        }
        self.by = Some(by);
        self.code = frame.map(CloseFrame::code);
        let reason = frame.map(CloseFrame::reason).filter(|reason| !reason.is_empty());
        self.reason = reason.map(|reason| Box::new(reason.into()));
    }

    /// Returns our Close frame, the first time only.
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

    /// Compares the closure with a code, a reason, `clean` and the side that closed.
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
        assert_eq!(
            reply,
            Some(Outgoing::Close(frame(
                1009,
                "message over the limit of 5 bytes (Limits::message)"
            )))
        );
        assert_closure(
            &session,
            1009,
            "message over the limit of 5 bytes (Limits::message)",
            false,
            By::Local,
        );
        session.receive(&Incoming::Close(None));
        assert_closure(
            &session,
            1009,
            "message over the limit of 5 bytes (Limits::message)",
            false,
            By::Local,
        );
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
