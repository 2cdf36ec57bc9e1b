//! Recipients that call a closure.

use std::panic::{AssertUnwindSafe, catch_unwind};

use actix::{Actor, Context, Handler, Recipient};
use tokio::task::LocalSet;

/// Creates a recipient that calls a closure, where an actor would be too much.
///
/// The closure runs in a small actor of its own on this thread. If it panics, that actor ends, and
/// nothing else does. Call it inside an actix `System` or a tokio `LocalSet`: elsewhere
/// [`start`](crate::ConnectionBuilder::start) refuses the builder, and the closure is never called. What `start`
/// says of a tokio runtime without a `LocalSet` holds here too.
///
/// ```
/// use actix_ws_client::{Connection, event};
///
/// # actix::System::new().block_on(async {
/// let builder = Connection::builder("ws://127.0.0.1:9001")
///     .on_message_to(event::call(|message: event::Message| println!("{:?}", message.payload)));
/// # drop(builder);
/// # });
/// ```
pub fn call<M, F>(closure: F) -> Recipient<M>
where
    M: actix::Message<Result = ()> + Send + 'static,
    F: FnMut(M) + Unpin + 'static,
{
    let context = Context::new();
    let called = context.into_future(Called(closure));
    let addr = called.address();
    if try_start(move || actix_rt::spawn(called)).is_none() {
        tracing::error!("`event::call` outside an actix System and a tokio LocalSet: never called");
    }
    addr.recipient()
}

/// Does what [`call`] does, on this `LocalSet` of tokio's: for a connection that is started by
/// [`start_on`](crate::ConnectionBuilder::start_on). Needs no runtime, and never panics.
pub fn call_on<M, F>(local: &LocalSet, closure: F) -> Recipient<M>
where
    M: actix::Message<Result = ()> + Send + 'static,
    F: FnMut(M) + Unpin + 'static,
{
    let _entered = local.enter();
    Called(closure).start().recipient()
}

/// Calls a closure that starts an actor on this thread. Returns `None` where none can be started.
pub(crate) fn try_start<T>(start: impl FnOnce() -> T) -> Option<T> {
    tokio::runtime::Handle::try_current().ok()?;
    // An arbiter has a `LocalSet`. Where there is no arbiter, tokio has no way to ask for one: spawning panics
    // where there is none.
    catch_unwind(AssertUnwindSafe(start)).ok()
}

/// The actor of [`call`].
struct Called<F>(F);

impl<F: Unpin + 'static> Actor for Called<F> {
    type Context = Context<Called<F>>;
}

impl<M, F> Handler<M> for Called<F>
where
    M: actix::Message<Result = ()> + Send + 'static,
    F: FnMut(M) + Unpin + 'static,
{
    type Result = ();

    fn handle(&mut self, message: M, _: &mut Context<Called<F>>) {
        (self.0)(message);
    }
}
