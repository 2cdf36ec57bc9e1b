//! What follows for the feed and the publisher from what a member is for a share.

use std::time::Instant;

use crate::nats::lane::Role;
use crate::nats::lease::Key;
use crate::nats::share::part::{Part, ShareState, Topics};
use crate::nats::share::{Action, Sharing};

impl Sharing {
    /// Adds or removes the topics of a share, sets their role, and reports the state.
    pub(super) fn poll_output(&mut self, share: u32, now: Instant) {
        let overlaps = self.options.overlaps;
        let is_over = self.is_over;
        let has_claim = !is_over && self.view.own_entry(Key::Claim(share)).is_some();
        let has_standby = !is_over && self.view.own_entry(Key::Standby(share)).is_some();
        let claims = has_claim && self.leaving.is_none();
        let stands_by = has_standby && self.leaving.is_none();
        let owns = self.owns(share, now);
        let is_named = !is_over && overlaps && self.view.is_named(share);
        let revisions = [Key::Claim(share), Key::Standby(share)].map(|key| self.view.revision(key));
        let gift_ends = 2 * self.options.lease;
        let Some(part) = self.part_mut(share) else { return };
        // Without an overlap the topics go before the share does, and come after it.
        let is_kept = part.own.is_some() && (overlaps || part.settling.is_none());
        // The answer to the write that takes the share is on its way, or got lost.
        let is_coming = is_named && part.topics != Topics::No;
        let lingers = !is_over && part.keeps_until.is_some_and(|time| now < time);
        // What was there before is kept while a claim or a standby is being written.
        let is_asked = !is_over && part.topics != Topics::No && part.writes_entry();
        let relieves = !is_over && part.relieves.is_some();
        part.gift = part.gift.filter(|gift| overlaps && !is_over && now < gift.since + gift_ends);
        // What is read of this member once a late write arrives has to hold.
        let is_in_doubt = !is_over && part.topics != Topics::No && part.is_in_doubt(revisions);
        let is_needed = has_claim || stands_by || relieves || lingers || is_asked || is_in_doubt;
        let is_gift = part.topics != Topics::No && part.gift.is_some();
        let is_wanted = is_kept || is_coming || is_gift || overlaps && is_needed;
        let mut actions = Vec::from_iter(change_topics(part, share, is_wanted));
        let role = match (part.own, part.settling) {
            (Some(own), None) => Some(Role::Owner { fence: own.fence, until: Some(own.until) }),
            // It publishes the rest.
            (Some(_), Some(settling)) if !settling.is_done => None,
            _ => Some(waiting_role(overlaps && part.topics != Topics::No)),
        };
        if let Some(role) = role.filter(|role| *role != part.role || part.is_role_due) {
            (part.role, part.is_role_due) = (role, false);
            // What the feed delivers has to find the role that it is for.
            actions.insert(0, Action::Role { share, role });
        }
        let state = match part.own {
            Some(own) if owns => ShareState::Owned { fence: own.fence },
            _ if claims && !owns => ShareState::Claimed,
            _ if stands_by && part.topics == Topics::Yes => ShareState::Standby,
            _ => ShareState::Released,
        };
        if part.reported.unwrap_or(ShareState::Released) != state {
            part.reported = Some(state);
            actions.push(Action::Report { share, state });
        }
        self.actions.append(&mut actions);
    }
}

/// Adds the topics of a share to the feed if they are wanted and are not there, and removes them if it is the other way round.
fn change_topics(part: &mut Part, share: u32, is_wanted: bool) -> Option<Action> {
    match (is_wanted, part.topics) {
        (true, Topics::No) => {
            part.added += 1;
            part.topics = Topics::Adding;
            Some(Action::Add { share, added: part.added })
        }
        (false, Topics::Adding | Topics::Yes) => {
            part.topics = Topics::No;
            Some(Action::Remove { share })
        }
        _ => None,
    }
}

/// Returns the role of a member that does not own a share, and may have its topics.
fn waiting_role(has_topics: bool) -> Role {
    if has_topics { Role::Standby } else { Role::None }
}
