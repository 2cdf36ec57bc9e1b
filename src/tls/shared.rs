//! Values that many connections have alike, kept once for the process.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The most values of a kind that are known. One more, and the oldest is forgotten: connections that get an equal value
/// afterwards have one of their own.
const MAX_KNOWN: usize = 64;

/// A shared value. It equals only its own clones, so that a comparison costs nothing.
#[derive(Debug)]
pub(super) struct Shared<T: ?Sized>(Arc<T>);

impl<T: ?Sized> Shared<T> {
    pub(super) fn new(value: Arc<T>) -> Shared<T> {
        Shared(value)
    }

    pub(super) fn to_arc(&self) -> Arc<T> {
        self.0.clone()
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

impl<T: ?Sized> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The newest values of a kind, while anything else holds them.
pub(super) struct Newest<T>(Mutex<VecDeque<Weak<T>>>);

impl<T> Newest<T> {
    pub(super) const fn new() -> Newest<T> {
        Newest(Mutex::new(VecDeque::new()))
    }

    /// Returns the known value for which `is_wanted` is true.
    pub(super) fn find(&self, is_wanted: impl Fn(&T) -> bool) -> Option<Shared<T>> {
        let known = self.lock();
        known.iter().filter_map(Weak::upgrade).find(|value| is_wanted(value)).map(Shared)
    }

    /// Adds a value, which is known from then on.
    pub(super) fn add(&self, value: T) -> Shared<T> {
        let value = Arc::new(value);
        let mut known = self.lock();
        known.retain(|value| value.strong_count() > 0);
        if known.len() >= MAX_KNOWN {
            known.pop_front();
        }
        known.push_back(Arc::downgrade(&value));
        Shared(value)
    }

    /// Returns the known value that is the same as this one, or adds this one. Two threads that add the same at the same
    /// time have one each.
    pub(super) fn get_or_share(&self, value: T, is_same: impl Fn(&T, &T) -> bool) -> Shared<T> {
        self.find(|known| is_same(known, &value)).unwrap_or_else(|| self.add(value))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Weak<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(newest: &Newest<usize>, wanted: usize) -> Shared<usize> {
        newest.get_or_share(wanted, usize::eq)
    }

    #[test]
    fn an_equal_value_is_kept_once_while_it_is_held() {
        let newest = Newest::new();
        let first = get(&newest, 1);
        assert!(first == get(&newest, 1) && first != get(&newest, 2));
        assert_eq!(*first, 1);
        drop(first);
        get(&newest, 3);
        assert_eq!(newest.lock().len(), 1);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let newest = Newest::new();
        let held: Vec<_> = (0..=MAX_KNOWN).map(|number| get(&newest, number)).collect();
        assert_eq!(newest.lock().len(), MAX_KNOWN);
        assert!(held[0] != get(&newest, 0) && held[MAX_KNOWN] == get(&newest, MAX_KNOWN));
    }
}
