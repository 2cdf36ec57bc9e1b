//! A closure of the application's, as an option holds it, and code of the application's that may panic.

use std::fmt;
use std::io;
use std::mem;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// Calls code of the application's. Returns `None` if it panics.
///
/// What the code has changed is not looked at again: the caller must see to that.
pub(crate) fn contain<T>(call: impl FnOnce() -> T) -> Option<T> {
    // The payload of the panic is the application's too, and its drop may panic.
    catch_unwind(AssertUnwindSafe(call)).map_err(mem::forget).ok()
}

/// Drops a value that holds values of the application's, whose `Drop` may panic.
pub(crate) fn drop_contained<T>(value: T) {
    contain(|| drop(value));
}

/// Returns an error of the application's whose text can be made, or else another of its kind: the text is made where a
/// panic would end the connection without a word.
#[cold]
pub(crate) fn checked(err: io::Error) -> io::Error {
    match err.get_ref().is_none() || contain(|| err.to_string()).is_some() {
        true => err,
        false => {
            let kind = err.kind();
            drop_contained(err);
            io::Error::new(kind, "an error whose `Display` panicked")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Unspeakable;

    impl fmt::Display for Unspeakable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("as the test wants it")
        }
    }

    impl std::error::Error for Unspeakable {}

    /// Panics when it is dropped, also as the payload of a panic.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                std::panic::panic_any(Bomb);
            }
        }
    }

    #[test]
    fn a_panic_of_the_applications_code_ends_there() {
        assert_eq!(contain(|| 7), Some(7));
        assert_eq!(contain(|| -> u8 { std::panic::panic_any(Bomb) }), None);
        drop_contained(Bomb);
    }

    #[test]
    fn an_error_without_a_text_keeps_its_kind() {
        let err = checked(io::Error::new(io::ErrorKind::TimedOut, Unspeakable));
        assert_eq!(err.kind(), io::ErrorKind::TimedOut);
        assert!(err.to_string().contains("panicked"), "{err}");
        let err = checked(io::Error::other("spoken"));
        assert_eq!((err.kind(), err.to_string()), (io::ErrorKind::Other, "spoken".into()));
        let err = checked(io::ErrorKind::BrokenPipe.into());
        assert_eq!(err.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_closure_equals_its_clones_alone() {
        let closure = || Closure::<dyn Fn() -> u8>::new(Arc::new(|| 7));
        let (one, other) = (closure(), closure());
        assert!(one == one.clone() && one != other);
        assert_eq!((one(), format!("{one:?}")), (7, "..".into()));
    }
}
