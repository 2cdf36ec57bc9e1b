//! How a venue numbers the updates of a topic.

/// The number of one update, as the venue gives it. It decides what the feed can detect.
///
/// | made by | duplicates | missing numbers | order |
/// |---|---|---|---|
/// | [`contiguous`](Sequence::contiguous) | dropped | reported as a gap | restored |
/// | [`chained`](Sequence::chained) | dropped | reported as a gap | restored |
/// | [`id`](Sequence::id) | dropped, among the last 4,096 of a topic | not detected | not restored |
/// | [`rising`](Sequence::rising) | dropped | not detected | what is not newer is dropped |
/// | [`none`](Sequence::none) | not detected | not detected | as it came |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sequence {
    pub(crate) kind: Numbers,
    /// Whether the venue began its numbers anew with this update.
    pub(crate) restarted: bool,
}

/// The kinds of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Numbers {
    /// There is no number.
    #[default]
    None,
    /// The update covers the numbers from `first` to `last`, both included.
    Contiguous { first: u64, last: u64 },
    /// The update follows the one with the number `previous`.
    Chained { previous: u64, this: u64 },
    /// Each update has a greater number than the one before; numbers may be left out.
    Rising(u64),
    /// Each update has a number of its own, without an order.
    Id(u64),
}

impl Sequence {
    /// Creates the sequence of an update without a number.
    pub const fn none() -> Sequence {
        Sequence::of(Numbers::None)
    }

    /// Creates the sequence of an update that covers the numbers from `first` to `last`, both included,
    /// where the next update of the topic begins with `last + 1`. Where each update has one number, both
    /// are equal. A `last` before `first` counts as `first`.
    pub const fn contiguous(first: u64, last: u64) -> Sequence {
        Sequence::of(Numbers::Contiguous { first, last: if last < first { first } else { last } })
    }

    /// Creates the sequence of an update that names the number of the update before it. If both are
    /// equal, the update is a sign of life and carries no change.
    pub const fn chained(previous: u64, this: u64) -> Sequence {
        Sequence::of(Numbers::Chained { previous, this })
    }

    /// Creates the sequence of an update whose number is greater than that of the update before it, by any
    /// amount: a time stamp, for example.
    pub const fn rising(number: u64) -> Sequence {
        Sequence::of(Numbers::Rising(number))
    }

    /// Creates the sequence of an update with a number of its own, without an order: the number of a
    /// trade, or the hash of its name.
    pub const fn id(number: u64) -> Sequence {
        Sequence::of(Numbers::Id(number))
    }

    /// Marks the update as the first after the venue began its numbers anew. Older numbers of the topic
    /// are dropped from then on.
    pub const fn restarted(mut self) -> Sequence {
        self.restarted = true;
        self
    }

    /// Returns the last number that the update covers; `None` without a number.
    pub const fn last(self) -> Option<u64> {
        match self.kind {
            Numbers::None => None,
            Numbers::Contiguous { last, .. } => Some(last),
            Numbers::Chained { this, .. } => Some(this),
            Numbers::Rising(number) | Numbers::Id(number) => Some(number),
        }
    }

    /// Returns the first number that the update covers; `None` without a number.
    pub const fn first(self) -> Option<u64> {
        match self.kind {
            Numbers::Contiguous { first, .. } => Some(first),
            _ => self.last(),
        }
    }

    /// Returns whether its number has no order.
    #[cfg(feature = "nats")]
    pub(crate) const fn is_id(self) -> bool {
        matches!(self.kind, Numbers::Id(_))
    }

    const fn of(kind: Numbers) -> Sequence {
        Sequence { kind, restarted: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_are_those_of_the_update() {
        let both = |sequence: Sequence| (sequence.first(), sequence.last());
        assert_eq!(both(Sequence::none()), (None, None));
        assert_eq!(both(Sequence::contiguous(3, 5)), (Some(3), Some(5)));
        assert_eq!(both(Sequence::contiguous(5, 3)), (Some(5), Some(5)));
        assert_eq!(both(Sequence::chained(3, 5)), (Some(5), Some(5)));
        assert_eq!(both(Sequence::id(7)), (Some(7), Some(7)));
        assert_eq!(both(Sequence::rising(7).restarted()), (Some(7), Some(7)));
    }
}
