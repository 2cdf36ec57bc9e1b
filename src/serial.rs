//! What is known of a connection, for serde: its state, its figures, its end, and its events.
//!
//! A duration is a number of milliseconds with fractions, and its key ends in `_ms`; an `Instant`, which means
//! nothing outside the process, is left out. A kind is its text. An error is its stage and its text. Of a message
//! its length alone is written, and of headers what `Debug` shows of them. Keys may be added, as fields may.

use std::time::Duration;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::budget::Limit;
use crate::command::Accepted;
use crate::command::status::{
    Failures, Figures, Handshake, Outcome, OutcomeKind, Phase, SourceId, Status, Timings, WaitCause,
};
use crate::error::{Error, Stage};
use crate::event::{self, Next, Outage};
use crate::headers::Headers;
use crate::proto::close::{CloseCode, CloseFrame};
use crate::proto::frame::Opcode;
use crate::proto::session::{By, Closure, PeerClose};
use crate::tls::TlsSession;

/// Implements `Serialize` for structs: first the fields that are written under their own names, then the
/// durations with their keys, last the fields that are left out. A field that is nowhere does not compile.
macro_rules! objects {
    ($($Type:path [$($field:ident)*] ms [$($span:ident $key:literal)*] without [$($left:ident)*])+) => {$(
        impl Serialize for $Type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $Type { $($field,)* $($span,)* $($left: _,)* } = self;
                let keys = [$(stringify!($field),)* $($key,)*];
                let mut object = serializer.serialize_struct("", keys.len())?;
                $(object.serialize_field(stringify!($field), $field)?;)*
                $(object.serialize_field($key, &$span.millis())?;)*
                object.end()
            }
        }
    )+};
}

objects! {
    Status
        [source name phase waiting_for epoch attempt handshake figures handlers last_close last_error]
        ms [since "since_ms" blocked "blocked_ms"] without []
    Figures
        [messages_in bytes_in messages_out bytes_out attempts budget_waits control_in control_out queued_events
         queued_bytes unsent_bytes sends_refused dropped handlers_ended unheard]
        ms [last_byte "last_byte_ms" last_message "last_message_ms" opened "opened_ms" last_ping "last_ping_ms"
            last_pong "last_pong_ms" round_trip "round_trip_ms"]
        without []
    Handshake [status headers subprotocol extensions peer tls timings] ms [] without []
    Timings []
        ms [handler "handler_ms" dns "dns_ms" connect "connect_ms" proxy "proxy_ms" tls "tls_ms"
            upgrade "upgrade_ms"]
        without []
    TlsSession [version cipher] ms [] without []
    Outcome
        [kind error close by clean unsent_messages unsent_bytes peer epochs attempts] ms [] without []
    Closure [code reason clean by peer] ms [] without []
    PeerClose [code reason] ms [] without []
    Accepted [epoch] ms [] without []
    Outage [attempts cause] ms [duration "duration_ms"] without []
    event::Open [source epoch name handshake attempts outage] ms [] without [connection]
    event::Error [source epoch name error attempt next] ms [] without []
    event::Close
        [source epoch name attempt code reason clean by unsent_messages unsent_bytes peer next]
        ms [lasted "lasted_ms"] without []
    event::State [source epoch phase] ms [] without [since]
    event::Stopped [source epoch outcome] ms [] without []
}

/// Implements `Serialize` for the events with a payload, of which the length is written: the fields, and the
/// expressions that need the event.
macro_rules! with_payloads {
    ($($Type:path |$event:ident| { $($key:literal: $value:expr,)+ })+) => {$(
        impl Serialize for $Type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $event = self;
                let keys = [$($key),+];
                let mut object = serializer.serialize_struct("", keys.len() + 2)?;
                object.serialize_field("source", &$event.source)?;
                object.serialize_field("epoch", &$event.epoch)?;
                $(object.serialize_field($key, &$value)?;)+
                object.end()
            }
        }
    )+};
}

with_payloads! {
    event::Message |event| { "text": event.payload.as_text().is_some(), "length": event.payload.len(), }
    event::Data |event| {
        "opcode": event.opcode,
        "length": event.payload.len(),
        "fin": event.fin,
    }
    event::Continuation |event| {
        "opcode": event.fragment.opcode,
        "index": event.fragment.index,
        "length": event.fragment.bytes.len(),
        "fin": event.fragment.fin,
    }
    event::Batch |event| { "messages": event.len(), }
    event::Ping |event| { "length": event.payload.len(), }
    event::Pong |event| {
        "length": event.payload.len(),
        "round_trip_ms": event.round_trip.millis(),
    }
}

impl Serialize for event::Reconnect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Implements `Serialize` for kinds, as their texts.
macro_rules! texts {
    ($($Type:ty)+) => {$(
        impl Serialize for $Type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

texts! { Phase OutcomeKind WaitCause Limit Stage By Opcode }

impl Serialize for SourceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.value())
    }
}

impl Serialize for CloseCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.value())
    }
}

impl Serialize for CloseFrame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("", 2)?;
        object.serialize_field("code", &self.code())?;
        object.serialize_field("reason", self.reason())?;
        object.end()
    }
}

impl Serialize for Error {
    /// Writes the stage and the text, which shows no secret.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("", 2)?;
        object.serialize_field("stage", self.stage())?;
        object.serialize_field("text", &self.to_string())?;
        object.end()
    }
}

impl Serialize for Next {
    /// Writes `after_ms` and `attempt`, or nothing (`null`) if no dial follows.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Next::Stop => serializer.serialize_none(),
            Next::Retry { after, attempt } => {
                let mut object = serializer.serialize_struct("", 2)?;
                object.serialize_field("after_ms", &after.millis())?;
                object.serialize_field("attempt", attempt)?;
                object.end()
            }
        }
    }
}

impl Serialize for Failures {
    /// Writes how often each stage failed, by its name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl Serialize for Headers {
    /// Writes pairs of names and values, since a name may come twice; `***` for values that `Debug` hides.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.shown())
    }
}

/// A duration as a number of milliseconds.
pub(crate) trait Millis {
    /// The number, or none.
    type Number: Serialize;

    /// Returns the number.
    fn millis(&self) -> Self::Number;
}

impl Millis for Duration {
    type Number = f64;

    fn millis(&self) -> f64 {
        self.as_secs_f64() * 1e3
    }
}

impl Millis for Option<Duration> {
    type Number = Option<f64>;

    fn millis(&self) -> Option<f64> {
        self.map(|duration| duration.millis())
    }
}

// For the states and events of a feed.
pub(crate) use {objects, texts};
