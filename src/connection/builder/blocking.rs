//! Running a connection without a runtime.

use tokio::runtime::{Builder, Handle};
use tokio::task::LocalSet;

use crate::command::status::Outcome;
use crate::connection::builder::ConnectionBuilder;
use crate::error::ConfigError;

impl ConnectionBuilder {
    /// Runs the connection to its end on this thread, which needs no runtime, and returns its outcome
    /// (WebSocketApp's `run_forever`).
    ///
    /// The closures of the builder are called on this thread. All of them have returned when this does. With
    /// [`close_on_ctrl_c`](ConnectionBuilder::close_on_ctrl_c), Ctrl-C ends it. A closure ends it by
    /// [`event::Open::connection`](crate::event::Open::connection), to which it sends `command::Close`.
    ///
    /// ```no_run
    /// use actix_ws_client::{Connection, command};
    ///
    /// fn main() -> Result<(), actix_ws_client::ConfigError> {
    ///     let outcome = Connection::builder("wss://feed.example/")
    ///         .on_open(|open| {
    ///             open.connection.do_send(command::Send::text("subscribe"));
    ///         })
    ///         .on_message(|message| println!("{:?}", message.payload))
    ///         .close_on_ctrl_c(true)
    ///         .run_blocking()?;
    ///     println!("{outcome}");
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`check`](ConnectionBuilder::check); [`ConfigError::InRuntime`] on a thread of a tokio runtime, also in
    /// `spawn_blocking`: await [`run`](ConnectionBuilder::run) there; [`ConfigError::Thread`] if the system refuses
    /// what the runtime needs.
    #[doc(alias("run_sync", "blocking"))]
    pub fn run_blocking(self) -> Result<Outcome, ConfigError> {
        if Handle::try_current().is_ok() {
            return Err(ConfigError::InRuntime);
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|err| ConfigError::Thread { reason: err.to_string() })?;
        let (builder, all_called) = self.after_closures();
        LocalSet::new().block_on(&runtime, async {
            let outcome = builder.run().await?;
            if let Some(all_called) = all_called {
                // An error, always: that the other end was dropped.
                let _ = all_called.await;
            }
            Ok(outcome)
        })
    }
}
