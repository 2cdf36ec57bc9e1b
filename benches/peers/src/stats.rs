//! Medians, quartiles, and ratios of runs of the same round.

/// A median between its quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// Returns the median and the quartiles of at least one value.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| quantile(&sorted, part);
        Some(Spread { low: at(0.25)?, median: at(0.5)?, high: at(0.75)? })
    }

    /// Returns half the distance of the quartiles, relative to the median.
    pub fn relative(&self) -> f64 {
        (self.high - self.low) / 2.0 / self.median
    }

    /// Returns whether a ratio is inconclusive: its quartiles lie on both sides of 1.
    pub fn is_even(&self) -> bool {
        self.low <= 1.0 && self.high >= 1.0
    }
}

/// The value below which a part of the sorted values lies, between two of them where it must be.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// Returns the ratios of the runs of the same rounds, without rounds in which one of them failed.
pub fn paired(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Vec<f64> {
    let pairs = ours.iter().zip(theirs);
    pairs.filter_map(|(ours, theirs)| Some((*ours)? / (*theirs)?)).collect()
}

/// The order of a round: each client has every place once in so many rounds, and of any two the
/// one that was first in a round is the second in the next.
pub fn order(clients: usize, round: usize) -> Vec<usize> {
    let shift = round / 2;
    let mut order: Vec<usize> = (0..clients).map(|place| (place + shift) % clients).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_an_odd_and_of_an_even_number() {
        let odd = Spread::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(odd, Spread { low: 2.0, median: 3.0, high: 4.0 });
        let even = Spread::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(even, Spread { low: 1.75, median: 2.5, high: 3.25 });
        let single = Spread::of(&[7.0]).unwrap();
        assert_eq!(single, Spread { low: 7.0, median: 7.0, high: 7.0 });
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn spread_is_half_the_interquartile_range() {
        assert_eq!(Spread { low: 8.0, median: 10.0, high: 13.0 }.relative(), 0.25);
    }

    #[test]
    fn even_is_what_straddles_one() {
        let spread = |low, high| Spread { low, median: (low + high) / 2.0, high };
        assert!(spread(0.9, 1.1).is_even());
        assert!(spread(1.0, 1.2).is_even());
        assert!(!spread(0.8, 0.99).is_even());
        assert!(!spread(1.01, 1.2).is_even());
    }

    #[test]
    fn a_ratio_is_of_the_same_round() {
        let ours = [Some(1.0), None, Some(3.0), Some(8.0)];
        let theirs = [Some(2.0), Some(5.0), None, Some(4.0)];
        assert_eq!(paired(&ours, &theirs), [0.5, 2.0]);
    }

    #[test]
    fn the_order_of_a_pair_is_swapped_from_round_to_round() {
        let places = |round| {
            let order = order(5, round);
            (0..5).map(|client| order.iter().position(|&c| c == client).unwrap()).collect()
        };
        for round in [0, 2, 4] {
            let (first, second): (Vec<usize>, Vec<usize>) = (places(round), places(round + 1));
            for (one, other) in [(0, 1), (0, 4), (2, 3)] {
                assert_ne!(first[one] < first[other], second[one] < second[other]);
            }
        }
    }
}
