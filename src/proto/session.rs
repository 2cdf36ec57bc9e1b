//! The closing handshake, and the replies that the protocol requires (RFC 6455, 5.5 and 7).

use bytestring::ByteString;
use derive_more::Display;

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
    /// Whether that Close did not leave.
    unsent: bool,
    /// Whether the peer broke the protocol.
    breached: bool,
    /// The sender of the first Close frame; `None` if there was none.
    by: Option<By>,
    /// Our Close frame, if it was the first and is not empty. Boxed, as `peer` is: an open connection
    /// keeps this struct, and has neither.
    ours: Option<Box<CloseFrame>>,
    /// The Close frame that was received, if one was.
    peer: Option<Box<PeerClose>>,
}

/// The side that closed a connection.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
pub enum By {
    /// Our side.
    #[display("local")]
    Local,
    /// The peer.
    #[display("remote")]
    Remote,
    /// Neither: the connection was lost without a Close frame.
    #[display("nobody")]
    Nobody,
}

/// The outcome of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closure {
    /// The code of the first Close frame, ours or the peer's; 1005 if that frame was empty, 1006 if
    /// there was none.
    pub code: CloseCode,
    /// The reason in that frame, often empty.
    pub reason: ByteString,
    /// Whether both sides have sent a Close frame, each of which left, and the peer has kept to the
    /// protocol.
    pub clean: bool,
    /// The sender of that frame.
    pub by: By,
    /// The Close frame that the peer sent, first or second. `None` if none was received; nothing is
    /// received after a breach (RFC 6455, 7.1.7).
    pub peer: Option<Box<PeerClose>>,
}

/// A Close frame that was received: the status and the reason of RFC 6455, 7.1.5 and 7.1.6.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerClose {
    /// The code in the frame; 1005 if the frame was empty.
    pub code: CloseCode,
    /// The reason in the frame, often empty.
    pub reason: ByteString,
}

impl PeerClose {
    fn new(frame: Option<&CloseFrame>) -> Self {
        Self {
            code: frame.map_or(CloseCode::NO_STATUS, CloseFrame::code),
            reason: frame.map(|frame| frame.reason().into()).unwrap_or_default(),
        }
    }
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
                self.by.get_or_insert(By::Remote);
                self.peer.get_or_insert_with(|| Box::new(PeerClose::new(frame.as_ref())));
                self.send(frame.as_ref().map(CloseFrame::echo))
            }
            _ => None,
        }
    }

    /// Begins the closing handshake, with an empty frame if `frame` is `None`. Returns `None` if
    /// our Close was already sent.
    pub fn close(&mut self, frame: Option<CloseFrame>) -> Option<Outgoing> {
        if self.by.is_none() {
            self.by = Some(By::Local);
            self.ours = frame.clone().map(Box::new);
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

    /// Records that the transport ended before it had sent the Close frame that a method returned. The
    /// outcome is then as if there were none.
    pub fn close_unsent(&mut self) {
        self.unsent = true;
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
        self.sent || self.peer.is_some()
    }

    /// Returns whether both sides have sent a Close, so that the socket can be closed (RFC 6455,
    /// 7.1.1).
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.sent && self.peer.is_some()
    }

    /// Returns the outcome of the connection if it ended now.
    #[must_use]
    pub fn closure(&self) -> Closure {
        let by = match self.by {
            // The first frame on the wire is that of the peer, if it sent one.
            Some(By::Local) if self.unsent => self.peer.as_ref().map(|_| By::Remote),
            by => by,
        };
        let first = match (by, &self.peer) {
            // RFC 6455, 7.1.5: 1006 if there was no Close at all, 1005 for one without a code.
            (None, _) => PeerClose { code: CloseCode::ABNORMAL, reason: ByteString::new() },
            (Some(By::Remote), Some(peer)) => (**peer).clone(),
            _ => PeerClose::new(self.ours.as_deref()),
        };
        Closure {
            code: first.code,
            reason: first.reason,
            clean: self.is_done() && !self.breached && !self.unsent,
            by: by.unwrap_or(By::Nobody),
            peer: self.peer.clone(),
        }
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
    #[track_caller]
    fn assert_closure(session: &Session, code: u16, reason: &str, clean: bool, by: By) {
        let closure = session.closure();
        let found = (closure.code.value(), &*closure.reason, closure.clean, closure.by);
        assert_eq!(found, (code, reason, clean, by));
    }

    /// Compares the Close frame that was received.
    #[track_caller]
    fn assert_peer(session: &Session, expected: Option<(u16, &str)>) {
        let peer = session.closure().peer;
        let peer = peer.as_ref().map(|peer| (peer.code.value(), &*peer.reason));
        assert_eq!(peer, expected);
    }

    #[test]
    fn the_close_of_the_peer_is_kept_whoever_was_first() {
        let mut session = Session::new();
        assert_peer(&session, None);
        session.close(frame(1000, "done"));
        assert_peer(&session, None);
        session.receive(&Incoming::Close(frame(4001, "session expired")));
        assert_closure(&session, 1000, "done", true, By::Local);
        assert_peer(&session, Some((4001, "session expired")));

        let mut session = Session::new();
        session.receive(&Incoming::Close(frame(4001, "session expired")));
        session.close(frame(1000, "done"));
        assert_closure(&session, 4001, "session expired", true, By::Remote);
        assert_peer(&session, Some((4001, "session expired")));
    }

    #[test]
    fn an_empty_close_of_the_peer_is_no_missing_one() {
        for ours in [None, frame(1000, "")] {
            let mut session = Session::new();
            session.close(ours);
            assert_peer(&session, None);
            session.receive(&Incoming::Close(None));
            assert_peer(&session, Some((1005, "")));
        }
        let mut session = Session::new();
        session.receive(&Incoming::Close(None));
        assert_peer(&session, Some((1005, "")));
    }

    #[test]
    fn a_breach_behind_the_close_of_the_peer_leaves_that_close() {
        let mut session = Session::new();
        session.close(frame(1000, ""));
        session.receive(&Incoming::Close(frame(4001, "bye")));
        assert_eq!(session.fail(&ProtocolError::DataAfterClose), None);
        assert_closure(&session, 1000, "", false, By::Local);
        assert_peer(&session, Some((4001, "bye")));
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
    fn a_close_that_did_not_leave_counts_as_none() {
        let mut session = Session::new();
        session.close(frame(1000, "done"));
        session.close_unsent();
        assert_closure(&session, 1006, "", false, By::Nobody);
        session.receive(&Incoming::Close(frame(4001, "bye")));
        assert_closure(&session, 4001, "bye", false, By::Remote);

        let mut session = Session::new();
        session.receive(&Incoming::Close(frame(4001, "bye")));
        session.close_unsent();
        assert_closure(&session, 4001, "bye", false, By::Remote);

        let mut session = Session::new();
        session.fail(&ProtocolError::ReservedBit);
        session.close_unsent();
        assert_closure(&session, 1006, "", false, By::Nobody);
    }

    #[test]
    fn without_a_close_nobody_closed() {
        assert_closure(&Session::new(), 1006, "", false, By::Nobody);
    }
}
