//! The connection to the broker, with the stream that was checked.

use std::fmt;
use std::sync::Arc;

use async_nats::{Client, jetstream};

use crate::nats::error::Error;
use crate::nats::options::Options;

/// A connection to a broker, and a stream that can take what is published. Clones share the connection.
#[derive(Clone)]
pub struct Broker {
    #[expect(dead_code, reason = "the publisher that reads it follows")]
    pub(crate) client: Client,
    #[expect(dead_code, reason = "shares, which read it, follow")]
    pub(crate) context: jetstream::Context,
    pub(crate) options: Arc<Options>,
}

/// What an application may want to say of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The broker was not reached. Another attempt follows.
    #[non_exhaustive]
    Unreachable {
        /// Why.
        why: Arc<str>,
    },
    /// The connection is open, for the first time or again.
    Connected,
    /// The connection was lost. It is opened again.
    Disconnected,
}

impl Broker {
    /// Connects, and checks the stream or creates it.
    pub(crate) async fn connect(options: Options) -> Result<Broker, Error> {
        let client = async_nats::connect(&options.url).await;
        let client = client.map_err(|err| Error::Refused { why: err.to_string().into() })?;
        let context = jetstream::new(client.clone());
        Ok(Broker { client, context, options: Arc::new(options) })
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("options", &self.options).finish_non_exhaustive()
    }
}
