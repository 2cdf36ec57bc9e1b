//! A closure of the application's, as an option holds it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A shared closure that can be compared and shown, so that what holds it can derive both.
///
/// It equals only its own clones: two closures cannot be compared. `Debug` shows `..`.
pub(crate) struct Closure<F: ?Sized>(Arc<F>);

impl<F: ?Sized> Closure<F> {
    pub(crate) fn new(closure: Arc<F>) -> Closure<F> {
        Closure(closure)
    }

    pub(crate) fn to_arc(&self) -> Arc<F> {
        self.0.clone()
    }
}

impl<F: ?Sized> Clone for Closure<F> {
    fn clone(&self) -> Closure<F> {
        Closure(self.0.clone())
    }
}

impl<F: ?Sized> PartialEq for Closure<F> {
    fn eq(&self, other: &Closure<F>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<F: ?Sized> fmt::Debug for Closure<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl<F: ?Sized> Deref for Closure<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closure_equals_its_clones_alone() {
        let closure = || Closure::<dyn Fn() -> u8>::new(Arc::new(|| 7));
        let (one, other) = (closure(), closure());
        assert!(one == one.clone() && one != other);
        assert_eq!((one(), format!("{one:?}")), (7, "..".into()));
    }
}
