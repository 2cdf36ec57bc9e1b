//! Checking, starting and running a connection.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;

use actix::{Addr, Supervisor};
use actix_rt::ArbiterHandle;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::backoff::Schedule;
use crate::command;
use crate::command::status::Outcome;
use crate::connection::actor::Connection;
use crate::connection::builder::{ConnectionBuilder, signals};
use crate::connection::requests::Attached;
use crate::error::ConfigError;
use crate::event;
use crate::options::{Options, Plan, warn_of_fragment};
use crate::requests::Answers;

impl ConnectionBuilder {
    /// Checks the URL and every option as [`start`](ConnectionBuilder::start) would, without starting
    /// anything: a program can refuse its configuration before it has a runtime. Proxy variables of the
    /// environment are read, certificates are loaded and the reconnect policy is begun, as by `start`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_ws_client::Connection;
    ///
    /// let builder = Connection::builder("wss://feed.example/").connect_timeout(Duration::ZERO);
    /// let refused = builder.check().unwrap_err();
    /// assert!(refused.to_string().starts_with("connect_timeout: "));
    /// ```
    ///
    /// # Errors
    /// A URL or an option that `start` refuses, by its name.
    pub fn check(&self) -> Result<(), ConfigError> {
        plan(&self.url, self.options.clone()).map(drop)
    }

    /// Starts the connection on this thread. It lives until the last clone of its address is dropped.
    ///
    /// tokio cannot be asked whether a `LocalSet` is there. So on a thread with a tokio runtime, but without an
    /// actix `System` or arbiter, the start is tried: without a `LocalSet`, as in a plain `#[tokio::main]`, it
    /// panics within tokio. The panic is caught, but the panic hook has printed it ("`spawn_local` called from
    /// outside of a `task::LocalSet` …"), and a program that is built with `panic = "abort"` ends. There use
    /// [`start_on`](ConnectionBuilder::start_on), which never panics and prints nothing.
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check), and [`ConfigError::NoRuntime`] outside an actix `System` or a
    /// tokio `LocalSet`.
    #[must_use = "a connection whose last address is dropped closes"]
    #[doc(alias("connect_async", "connect", "spawn", "create_connection", "dial"))]
    pub fn start(self) -> Result<Addr<Connection>, ConfigError> {
        self.start_with(None)
    }

    /// Starts the connection on this `LocalSet` of tokio's, without a runtime too: it begins to dial when the
    /// set is first polled, inside a tokio runtime with its I/O and time drivers. Never panics.
    ///
    /// ```
    /// use actix_ws_client::testing::{Script, Server};
    /// use actix_ws_client::{Connection, event};
    /// use tokio::task::LocalSet;
    ///
    /// # let server = Server::start(Script::accept().send_text("hi"));
    /// # let url = server.url();
    /// let local = LocalSet::new();
    /// let (sender, mut messages) = tokio::sync::mpsc::unbounded_channel();
    /// let on_message = event::call_on(&local, move |message: event::Message| {
    ///     let _ = sender.send(message.payload);
    /// });
    /// let connection = Connection::builder(url).on_message_to(on_message).start_on(&local).unwrap();
    ///
    /// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// let payload = local.block_on(&runtime, messages.recv()).unwrap();
    /// assert_eq!(payload.as_text(), Some("hi"));
    /// # drop(connection);
    /// ```
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check).
    #[must_use = "a connection whose last address is dropped closes"]
    pub fn start_on(self, local: &LocalSet) -> Result<Addr<Connection>, ConfigError> {
        let make = self.actor(None)?;
        let _entered = local.enter();
        Ok(Supervisor::start(move |_| make()))
    }

    /// Starts the connection on another arbiter.
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check), and [`ConfigError::ArbiterGone`] if the arbiter is seen to
    /// have ended. If it ends a moment later, the address answers no command.
    #[must_use = "a connection whose last address is dropped closes"]
    pub fn start_in(self, arbiter: &ArbiterHandle) -> Result<Addr<Connection>, ConfigError> {
        let make = self.actor(None)?;
        let addr = Supervisor::start_in_arbiter(arbiter, move |_| make());
        // An arbiter that has ended drops the closure, and with it the mailbox.
        if addr.connected() { Ok(addr) } else { Err(ConfigError::ArbiterGone) }
    }

    /// Runs the connection to its end (WebSocketApp's `run_forever`) and returns its outcome. A handler may
    /// still be handling `Stopped` when this returns.
    ///
    /// Dropping the future closes the connection with 1001, unless another clone of its address is held. The close
    /// goes on in the background. If the program ends at once, as it does after a `select!` at the end of `main`, only
    /// the Close frame is sent, where the socket takes it without waiting, and the server's answer is not awaited. To end
    /// the run when something else happens, use [`run_until`](ConnectionBuilder::run_until) or
    /// [`close_on_ctrl_c`](ConnectionBuilder::close_on_ctrl_c).
    ///
    /// # Errors
    /// As [`start`](ConnectionBuilder::start), and [`ConfigError::ArbiterGone`] if the system ends
    /// before the run does.
    #[doc(alias("run_forever", "block_on"))]
    pub async fn run(self) -> Result<Outcome, ConfigError> {
        self.run_until(pending::<()>()).await
    }

    /// Does what [`run`](ConnectionBuilder::run) does, and closes the connection (1000) when a future completes. The
    /// close takes at most `close_timeout`, 3 s by default. The future's output is dropped, and so is the future where
    /// the run ends first.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use actix_ws_client::Connection;
    ///
    /// # async fn watch() -> Result<(), actix_ws_client::ConfigError> {
    /// let hour = tokio::time::sleep(Duration::from_secs(3600));
    /// let outcome = Connection::builder("wss://feed.example/").run_until(hour).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](ConnectionBuilder::run).
    #[doc(alias("with_graceful_shutdown", "cancellation_token"))]
    pub async fn run_until<F: Future>(self, end: F) -> Result<Outcome, ConfigError> {
        let by_signal = self.close_on_ctrl_c;
        let (ended, mut outcome) = oneshot::channel();
        let addr = self.start_with(Some(ended))?;
        let mut end = pin!(end);
        // Polled, and so registered, before the connection's first dial can begin.
        let mut signal = pin!(signals::wait());
        let mut asked = false;
        let outcome = poll_fn(|cx| {
            if !asked {
                asked = end.as_mut().poll(cx).is_ready()
                    || by_signal && signal.as_mut().poll(cx).is_ready();
                if asked {
                    addr.do_send(command::Close::normal());
                }
            }
            Pin::new(&mut outcome).poll(cx)
        });
        outcome.await.map_err(|_| ConfigError::ArbiterGone)
    }

    fn start_with(
        self,
        run_reply: Option<oneshot::Sender<Outcome>>,
    ) -> Result<Addr<Connection>, ConfigError> {
        let make = self.actor(run_reply)?;
        event::try_start(move || Supervisor::start(move |_| make())).ok_or(ConfigError::NoRuntime)
    }

    /// Checks the URL and all options, and returns what makes the actor on its thread.
    pub(crate) fn actor(
        self,
        run_reply: Option<oneshot::Sender<Outcome>>,
    ) -> Result<impl FnOnce() -> Connection + Send, ConfigError> {
        let ConnectionBuilder {
            url,
            options,
            mut handlers,
            closures,
            requests,
            source,
            handle_queue,
            ..
        } = self;
        let (plan, schedule) = plan(&url, options)?;
        let requests = requests.map(claim).transpose()?;
        warn_of_fragment(&url);
        Ok(move || {
            handlers.start(closures);
            Connection::new(plan, schedule, source, handle_queue, handlers, requests, run_reply)
        })
    }
}

/// Claims the questions for the connection that is built.
fn claim(answers: Arc<dyn Answers>) -> Result<Box<Attached>, ConfigError> {
    let taken = "they belong to another connection: make a `Requests` for each";
    Attached::claim(answers).ok_or_else(|| ConfigError::option("requests", taken))
}

/// Checks the URL and all options, and begins the reconnect policy.
fn plan(url: &str, options: Options) -> Result<(Arc<Plan>, Schedule), ConfigError> {
    let plan = Arc::new(Plan::new(url, options)?);
    let begin = || Schedule::new(&plan.options.reconnect, plan.options.guards());
    let schedule = catch_unwind(AssertUnwindSafe(begin))
        .map_err(|_| ConfigError::option("reconnect", "the policy panicked"))?;
    Ok((plan, schedule))
}
