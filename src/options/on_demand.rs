//! A part of the options that few connections set.

use std::borrow::Cow;
use std::sync::Arc;

use crate::options::request::Request;
use crate::socket::Sockets;
use crate::tls::Tls;

/// A value that costs a word until it is set.
#[derive(Clone, Debug, Default)]
pub(crate) struct OnDemand<T>(Option<Arc<T>>);

impl<T: Clone + Default> OnDemand<T> {
    /// The value, or the default.
    pub(crate) fn get(&self) -> Cow<'_, T> {
        self.0.as_deref().map_or_else(|| Cow::Owned(T::default()), Cow::Borrowed)
    }

    /// The value, if it is set.
    pub(crate) fn if_set(&self) -> Option<&T> {
        self.0.as_deref()
    }

    /// The value to be changed, at first the default.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    pub(crate) fn set(&mut self, value: T) {
        self.0 = Some(Arc::new(value));
    }
}

/// Whether what was set is alike. What was not, is.
impl<T: Alike> PartialEq for OnDemand<T> {
    fn eq(&self, other: &OnDemand<T>) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(another)) => Arc::ptr_eq(one, another) || one.is_alike(another),
            _ => false,
        }
    }
}

/// What can be told to be alike.
pub(crate) trait Alike {
    /// `false` also where nobody can tell, as of closures and secrets.
    fn is_alike(&self, _other: &Self) -> bool {
        false
    }
}

impl Alike for Request {}

impl Alike for Tls {}

impl Alike for Sockets {
    fn is_alike(&self, other: &Sockets) -> bool {
        self == other
    }
}
