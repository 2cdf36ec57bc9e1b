//! Sharing of options between connections.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use crate::error::ConfigError;
use crate::options::Options;

thread_local! {
    /// The options of this thread's newest connection, while any connection has them.
    static NEWEST: RefCell<Weak<Options>> = const { RefCell::new(Weak::new()) };
}

/// Checks options, and returns them in shared memory: that of this thread's previous connection, if its options are equal.
/// A program that opens many connections mostly opens them with the same options, which take 544 bytes and more. Equal
/// options are not checked again: to try out socket options takes three system calls or more.
///
/// # Errors
/// As [`Options::check`].
pub(super) fn shared(options: Options) -> Result<Arc<Options>, ConfigError> {
    match NEWEST.with_borrow(Weak::upgrade) {
        Some(newest) if *newest == options => Ok(newest),
        _ => {
            options.check()?;
            let own = Arc::new(options);
            NEWEST.set(Arc::downgrade(&own));
            Ok(own)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backoff::Reconnect;
    use crate::options::{RetryIf, Secret};
    use crate::socket::SocketOptions;
    use crate::tls::Tls;

    /// Returns options with one changed.
    fn set(change: impl FnOnce(&mut Options)) -> Arc<Options> {
        let mut options = Options::new(Reconnect::default());
        change(&mut options);
        shared(options).unwrap()
    }

    #[test]
    fn options_that_are_alike_are_kept_once() {
        let first = set(|options| options.close_timeout = Duration::from_secs(7));
        let second = set(|options| options.close_timeout = Duration::from_secs(7));
        assert!(Arc::ptr_eq(&first, &second));
        let other = set(|options| options.close_timeout = Duration::from_secs(8));
        assert_eq!(other.close_timeout, Duration::from_secs(8));
        assert_eq!(first.close_timeout, Duration::from_secs(7));
    }

    #[test]
    fn sockets_that_are_alike_are_no_reason_for_other_options() {
        let seconds = Duration::from_secs;
        let with = |idle| {
            set(|options| {
                options.sockets.get_mut().options = SocketOptions::new().keepalive(seconds(idle));
            })
        };
        let first = with(9);
        assert!(Arc::ptr_eq(&first, &with(9)));
        assert!(!Arc::ptr_eq(&first, &with(8)));
    }

    #[test]
    fn tls_that_is_alike_is_no_reason_for_other_options() {
        let any = || Tls::new().dangerously_accept_any_certificate();
        let first = set(|options| options.tls.set(any()));
        assert!(Arc::ptr_eq(&first, &set(|options| options.tls.set(any()))));
        assert!(!Arc::ptr_eq(&first, &set(|options| options.tls.set(Tls::new()))));
    }

    #[test]
    fn options_that_cannot_be_compared_are_each_their_own() {
        let changes: [fn(&mut Options); 4] = [
            |options| options.sockets.get_mut().options = SocketOptions::new().with(|_| Ok(())),
            |options| options.retry_if = Some(RetryIf::new(crate::error::Error::verdict)),
            |options| options.request.get_mut().cookie = Some(Secret::new("a=1")),
            |options| options.reconnect = Reconnect::delays(|| std::iter::repeat(Duration::ZERO)),
        ];
        for change in changes {
            assert!(!Arc::ptr_eq(&set(change), &set(change)));
        }
    }
}
