//! The entries of a bucket: their keys and values. No value holds a time.

use std::fmt;
use std::str::FromStr;

/// A process that shares a feed, in one of its lives: drawn at random when it starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId(pub(crate) u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl MemberId {
    fn parse(text: &str) -> Option<MemberId> {
        let is_whole = text.len() == 16;
        is_whole.then(|| u64::from_str_radix(text, 16).ok().map(MemberId)).flatten()
    }
}

/// The key of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// The presence of a member, `member.<id>`.
    Member(MemberId),
    /// The lease of a share, `share.<number>`.
    Share(u32),
    /// The member that asks for a share, `claim.<number>`.
    Claim(u32),
    /// The member that stands by for a share, `standby.<number>`.
    Standby(u32),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Member(id) => write!(f, "member.{id}"),
            Key::Share(number) => write!(f, "share.{number}"),
            Key::Claim(number) => write!(f, "claim.{number}"),
            Key::Standby(number) => write!(f, "standby.{number}"),
        }
    }
}

impl Key {
    /// Returns the key of this text; `None` for that of an entry which is not ours.
    pub(crate) fn parse(text: &str) -> Option<Key> {
        let (kind, rest) = text.split_once('.')?;
        let key = match kind {
            "member" => Key::Member(MemberId::parse(rest)?),
            "share" => Key::Share(rest.parse().ok()?),
            "claim" => Key::Claim(rest.parse().ok()?),
            "standby" => Key::Standby(rest.parse().ok()?),
            _ => return None,
        };
        // `share.01` is not the key of share 1.
        (key.to_string() == text).then_some(key)
    }
}

/// What a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    /// The fingerprint of its plan.
    pub(crate) plan: u64,
    /// The revision of its first entry, since when it has been a member; `None` in that entry.
    pub(crate) joined: Option<u64>,
    pub(crate) stay: Stay,
}

/// Whether a member stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    Staying,
    /// It hands its shares over.
    Leaving,
    /// It has none any more, and will not renew this entry.
    Left,
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stay = match self.stay {
            Stay::Staying => "staying",
            Stay::Leaving => "leaving",
            Stay::Left => "left",
        };
        write!(f, "{stay} plan={:016x}", self.plan)?;
        self.joined.map_or(Ok(()), |joined| write!(f, " joined={joined}"))
    }
}

impl FromStr for Presence {
    type Err = ();

    fn from_str(text: &str) -> Result<Presence, ()> {
        let mut words = text.split(' ');
        let stay = match words.next() {
            Some("staying") => Stay::Staying,
            Some("leaving") => Stay::Leaving,
            Some("left") => Stay::Left,
            _ => return Err(()),
        };
        let (mut plan, mut joined) = (None, None);
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "plan" => plan = u64::from_str_radix(value, 16).ok(),
                "joined" => joined = value.parse().ok(),
                _ => {}
            }
        }
        Ok(Presence { plan: plan.ok_or(())?, joined, stay })
    }
}

/// The member that a lease, a claim or a standby names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    /// `None` after it was released.
    pub(crate) member: Option<MemberId>,
    /// Whether it has the topics of the share, for a claim or a standby.
    pub(crate) is_ready: bool,
}

impl Holder {
    pub(crate) fn of(member: MemberId, is_ready: bool) -> Holder {
        Holder { member: Some(member), is_ready }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.member {
            None => f.write_str("nobody"),
            Some(member) if self.is_ready => write!(f, "{member} ready"),
            Some(member) => member.fmt(f),
        }
    }
}

impl FromStr for Holder {
    type Err = ();

    fn from_str(text: &str) -> Result<Holder, ()> {
        let mut words = text.split(' ');
        let first = words.next().unwrap_or_default();
        if first == "nobody" {
            return Ok(Holder::default());
        }
        let member = MemberId::parse(first).ok_or(())?;
        Ok(Holder::of(member, words.any(|word| word == "ready")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: MemberId = MemberId(0xab);

    #[test]
    fn a_key_is_read_as_it_was_written() {
        for key in [Key::Member(ME), Key::Share(3), Key::Claim(0), Key::Standby(u32::MAX)] {
            assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
        assert_eq!(Key::Member(ME).to_string(), "member.00000000000000ab");
        for other in ["", "share", "share.", "share.01", "share.-1", "member.ab", "plan.1"] {
            assert_eq!(Key::parse(other), None, "{other}");
        }
        assert_eq!(Key::parse("member.+0000000000000ab"), None);
    }

    #[test]
    fn a_value_is_read_as_it_was_written_and_with_words_of_a_later_version() {
        for stay in [Stay::Staying, Stay::Leaving, Stay::Left] {
            for joined in [None, Some(7)] {
                let presence = Presence { plan: 0x1f, joined, stay };
                assert_eq!(presence.to_string().parse(), Ok(presence));
                assert_eq!(format!("{presence} colour=red new").parse(), Ok(presence));
            }
        }
        assert_eq!("staying joined=3".parse::<Presence>(), Err(()), "without a plan");
        assert_eq!("".parse::<Presence>(), Err(()));
        for holder in [Holder::default(), Holder::of(ME, false), Holder::of(ME, true)] {
            assert_eq!(holder.to_string().parse(), Ok(holder));
            assert_eq!(format!("{holder} later=1").parse(), Ok(holder));
        }
        assert_eq!("".parse::<Holder>(), Err(()));
        assert_eq!("ab ready".parse::<Holder>(), Err(()));
    }
}
