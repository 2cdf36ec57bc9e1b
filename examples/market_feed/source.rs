//! What is watched.

use std::time::Duration;

use actix::Addr;
use actix_ws_client::feed::{self, Feed};
use actix_ws_client::{Connection, command};

/// What is watched: the feed of the exchange, or one connection to any server.
pub(crate) enum Source {
    Feed(Addr<Feed<f64>>),
    Server(Addr<Connection>),
}

impl Source {
    /// Returns the state of the lines; `None` of a plain server.
    pub(crate) async fn status(&self) -> Option<feed::command::FeedStatus> {
        match self {
            Source::Feed(feed) => feed.send(feed::command::Status).await.ok(),
            Source::Server(_) => None,
        }
    }

    /// Closes every socket, and waits until it is closed. One that has stopped is closed already.
    pub(crate) async fn close(&self) {
        let deadline = Duration::from_millis(500);
        match self {
            Source::Feed(feed) => feed.send(feed::command::Close::within(deadline)).await.ok(),
            Source::Server(server) => {
                server.send(command::Close::normal().deadline(deadline)).await.map(drop).ok()
            }
        };
    }
}
