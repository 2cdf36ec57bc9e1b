//! Recording a connection.

use crate::connection::builder::ConnectionBuilder;
use crate::record::Recorder;

impl ConnectionBuilder {
    /// Records what the connection receives and sends, in a channel with its [`name`](ConnectionBuilder::name), or else
    /// its number; see [`record`](crate::record). Default: nothing is recorded.
    ///
    /// What is recorded: each message before anything else sees it, whole and without compression; each message that
    /// is accepted for the socket, but of those with [`Send::secret`](crate::command::Send::secret) only the length;
    /// Pings and Pongs; and the events `Open`, `Error`, `Close`, `State` and `Stopped`. A recorder that is slow delays
    /// nothing: it drops.
    pub fn record(mut self, recorder: &Recorder) -> Self {
        self.options.recorder = Some(recorder.clone());
        self
    }
}
