//! Options and plans that connections have in common.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use crate::error::ConfigError;
use crate::options::plan::from_environment;
use crate::options::{Options, Plan};

thread_local! {
    /// The options of the newest connection of this thread, while any connection has them.
    static NEWEST: RefCell<Weak<Options>> = const { RefCell::new(Weak::new()) };

    /// As `NEWEST`, for the plan.
    static PLAN: RefCell<Weak<Plan>> = const { RefCell::new(Weak::new()) };
}

/// The options, in the memory of those of the connection before, if they are the same: who opens
/// many connections opens them alike, and options are most of what a plan weighs.
pub(super) fn shared(options: Options) -> Arc<Options> {
    match NEWEST.with_borrow(Weak::upgrade) {
        Some(newest) if *newest == options => newest,
        _ => {
            let own = Arc::new(options);
            NEWEST.set(Arc::downgrade(&own));
            own
        }
    }
}

/// The plan for a URL and its options: that of the connection before, if both lead by the plain and
/// direct way to one and the same place with the same options. What it was checked for is not checked again.
///
/// # Errors
/// As [`Plan::new`].
pub(crate) fn shared_plan(url: &str, options: Box<Options>) -> Result<Arc<Plan>, ConfigError> {
    let newest = PLAN.with_borrow(Weak::upgrade);
    if let Some(newest) = &newest
        && newest.is_for(url, &options, from_environment)
    {
        return Ok(newest.clone());
    }
    let plan = Plan::new(url, *options)?;
    // The URL may only be spelled in another way.
    if let Some(newest) = newest.filter(|newest| newest.is_alike(&plan)) {
        return Ok(newest);
    }
    let own = Arc::new(plan);
    PLAN.set(Arc::downgrade(&own));
    Ok(own)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backoff::Reconnect;
    use crate::options::{RetryIf, Secret};
    use crate::socket::SocketOptions;
    use crate::tls::Tls;

    /// Options, with one of them set.
    fn set(change: impl FnOnce(&mut Options)) -> Arc<Options> {
        let mut options = Options::new(Reconnect::default());
        change(&mut options);
        shared(options)
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
    fn plans_that_are_alike_are_kept_once() {
        let plan = |url: &str, close: u64| {
            let mut options = Options::new(Reconnect::default());
            options.close_timeout = Duration::from_secs(close);
            options.proxy_from_env = false;
            shared_plan(url, Box::new(options)).unwrap()
        };
        let first = plan("ws://h/a?b", 3);
        // As it is spelled, and as it may be.
        for url in ["ws://h/a?b", "ws://h:80/a?b"] {
            assert!(Arc::ptr_eq(&first, &plan(url, 3)), "{url}");
        }
        for (url, close) in
            [("ws://h/a?c", 3), ("ws://h:81/a?b", 3), ("ws://me:pw@h/a?b", 3), ("ws://h/a?b", 4)]
        {
            let other = plan(url, close);
            assert!(!Arc::ptr_eq(&first, &other), "{url}");
            assert_eq!(other.options.close_timeout, Duration::from_secs(close));
        }
        // Each has its own TLS sessions.
        assert!(!Arc::ptr_eq(&plan("wss://h/", 3), &plan("wss://h/", 3)));
    }

    #[test]
    fn a_plan_is_not_shared_past_a_proxy_that_the_environment_has_by_now() {
        let mut options = Options::new(Reconnect::default());
        options.proxy_from_env = false;
        let mut plan = Plan::new("ws://h/", options.clone()).unwrap();
        // As if the environment had had none.
        options.proxy_from_env = true;
        plan.options = Arc::new(options.clone());
        let is_for = |set: &[&str]| {
            let variable = |name: &str| set.contains(&name).then(|| "http://p:1".to_owned());
            plan.is_for("ws://h/", &options, variable)
        };
        assert!(is_for(&[]) && is_for(&["https_proxy"]));
        assert!(!is_for(&["http_proxy"]) && !is_for(&["ALL_PROXY"]));
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
    fn options_that_cannot_be_compared_are_each_their_own() {
        let changes: [fn(&mut Options); 5] = [
            |options| options.sockets.get_mut().options = SocketOptions::new().with(|_| Ok(())),
            |options| options.retry_if = Some(RetryIf::new(crate::error::Error::verdict)),
            |options| options.tls.set(Tls::new()),
            |options| options.request.get_mut().cookie = Some(Secret::new("a=1")),
            |options| options.reconnect = Reconnect::delays(|| std::iter::repeat(Duration::ZERO)),
        ];
        for change in changes {
            assert!(!Arc::ptr_eq(&set(change), &set(change)));
        }
    }
}
