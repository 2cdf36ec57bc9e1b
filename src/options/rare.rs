//! A part of the options that few connections set.

use std::borrow::Cow;

/// A value that costs a word until it is set: an idle connection keeps its options for years.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rare<T>(Option<Box<T>>);

impl<T: Clone + Default> Rare<T> {
    /// The value, or the default.
    pub(crate) fn get(&self) -> Cow<'_, T> {
        self.0.as_deref().map_or_else(|| Cow::Owned(T::default()), Cow::Borrowed)
    }

    /// The value to be changed, at first the default.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }

    pub(crate) fn set(&mut self, value: T) {
        self.0 = Some(Box::new(value));
    }
}
