//! A group of options that few connections set.

use std::borrow::Cow;
use std::sync::Arc;

use crate::options::request::Request;
use crate::socket::Sockets;
use crate::tls::Tls;

/// A value that is allocated when it is first set.
///
/// With it `Options` takes 544 bytes, where all four values inside would make it 1,056. A connection with a closure
/// of its own shares its options with no other.
#[derive(Clone, Debug, Default)]
pub(crate) struct OnDemand<T>(Option<Arc<T>>);

impl<T: Clone + Default> OnDemand<T> {
    /// Returns the value, or the default.
    pub(crate) fn get(&self) -> Cow<'_, T> {
        self.0.as_deref().map_or_else(|| Cow::Owned(T::default()), Cow::Borrowed)
    }

    /// Returns the value, if it is set.
    pub(crate) fn if_set(&self) -> Option<&T> {
        self.0.as_deref()
    }

    /// Returns the value for a change, set to the default if it is not set.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// Sets the value.
    pub(crate) fn set(&mut self, value: T) {
        self.0 = Some(Arc::new(value));
    }
}

/// Equal if neither is set, or if both are set to the same value.
impl<T: Alike> PartialEq for OnDemand<T> {
    fn eq(&self, other: &OnDemand<T>) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(another)) => Arc::ptr_eq(one, another) || one.is_alike(another),
            _ => false,
        }
    }
}

/// A comparison for the sharing of options.
pub(crate) trait Alike {
    /// Returns whether both have the same effect. The default is `false`, for values that cannot be compared, or are not
    /// worth it.
    fn is_alike(&self, _other: &Self) -> bool {
        false
    }
}

impl Alike for Request {}

impl Alike for Tls {
    fn is_alike(&self, other: &Tls) -> bool {
        self == other
    }
}

impl Alike for Sockets {
    fn is_alike(&self, other: &Sockets) -> bool {
        self == other
    }
}
