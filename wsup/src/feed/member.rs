//! What the run needs of a process that shares its topics with others.

use std::pin::Pin;
use std::time::Duration;

use actix_ws_client::feed::Topic;

/// A future of a member, which does not borrow it.
pub(crate) type Pending<T> = Pin<Box<dyn Future<Output = T>>>;

/// A process that shares its topics with others.
pub(crate) trait Member {
    /// Hands everything over to the others, for so long at most.
    fn leave(&self, within: Duration) -> Pending<()>;
    /// Changes the topics. Returns what came of it, in words.
    fn change(&self, topics: Vec<Topic>) -> Pending<Result<String, String>>;
    /// Waits until the process cannot share, and returns why.
    fn failed(&mut self) -> Pin<Box<dyn Future<Output = String> + '_>>;
}

/// Waits until a member cannot share, if there is one.
pub(crate) async fn failed(member: &mut Option<Box<dyn Member>>) -> String {
    match member {
        Some(member) => member.failed().await,
        None => std::future::pending().await,
    }
}
