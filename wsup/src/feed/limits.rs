//! The limits of a file, as those of a feed.

use std::time::Duration;

use actix_ws_client::Budget;
use actix_ws_client::feed::{self, Silence};

use crate::feed::ack::By;
use crate::feed::rules::Action;
use crate::feed::venue::Venue;

impl Venue {
    /// Returns what the venue allows.
    pub(crate) fn rules(&self) -> feed::Rules {
        let mut rules = feed::Rules::default()
            .acknowledged(!matches!(self.ack.by, By::None))
            .topics_per_frame(self.topics_per_frame())
            .topics_per_line(self.topics_per_line());
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        for rate in &self.rules.frames {
            rules = rules.frames(count(rate.count), rate.period);
        }
        for rate in &self.rules.requests {
            rules = rules.requests(count(rate.count), rate.period);
        }
        if let Some(bytes) = self.rules.frame_bytes {
            rules = rules.frame_bytes(bytes);
        }
        match &self.heartbeat {
            Some(heartbeat) => rules.heartbeat(heartbeat.every),
            None => rules,
        }
    }

    /// Returns what happens if a topic brings no data.
    pub(crate) fn silence(&self) -> Option<Silence> {
        let wanted = self.silence.as_ref()?;
        let silence = Silence::topic(wanted.topic);
        let silence = match wanted.action {
            Action::Report => silence,
            Action::Resubscribe => silence.resubscribe(),
            Action::Fail => silence.fail(),
        };
        let open = wanted.open.clone();
        Some(match open.is_empty() {
            true => silence,
            false => silence.open_if(move |time| open.iter().any(|hours| hours.contains(time))),
        })
    }

    /// Returns the limits of dials and sockets.
    pub(crate) fn budget(&self) -> Option<Budget> {
        self.budget_part(1)
    }

    /// Returns the part of the limits of dials and sockets that one of so many processes has.
    pub(crate) fn budget_part(&self, members: usize) -> Option<Budget> {
        let count = |count: usize| u32::try_from(count / members).unwrap_or(u32::MAX);
        let mut dials = self.rules.dials.iter();
        let budget = match dials.next() {
            Some(rate) => Budget::dials(count(rate.count), rate.period),
            // A window of zero is no limit.
            None => Budget::dials(u32::MAX, Duration::ZERO),
        };
        let budget = dials.fold(budget, |it, rate| it.and(count(rate.count), rate.period));
        match self.rules.sockets {
            Some(sockets) => Some(budget.sockets(count(sockets))),
            None => (!self.rules.dials.is_empty()).then_some(budget),
        }
    }
}
