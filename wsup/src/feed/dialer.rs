//! Makes each dial: where to, with which header lines, and the dialect of its session.

use std::sync::Arc;

use actix_ws_client::feed::{Attempt, Dial, Dialect, Failure};
use actix_ws_client::{Connection, ConnectionBuilder};

use crate::feed::command;
use crate::feed::dialect::FileDialect;
use crate::feed::login::How;
use crate::feed::values::Values;
use crate::feed::venue::{Urls, Venue};
use crate::secrets::Secrets;
use crate::usage::{Usage, in_flags};

/// What every dial of a feed needs.
pub(crate) struct Dialer {
    pub(crate) venue: Arc<Venue>,
    pub(crate) secrets: Secrets,
    /// The largest text that a message is inflated to, in bytes.
    pub(crate) limit: usize,
}

impl Dialer {
    /// Reads secrets, runs commands, and makes a dial of them.
    pub(crate) async fn dial(&self, attempt: Attempt) -> Result<Dial<FileDialect>, Failure> {
        let venue = &self.venue;
        if attempt.is_replay {
            let values = Values::of_replay(venue, &self.secrets);
            let dialect = FileDialect::new(venue.clone(), values, String::new(), self.limit);
            return Ok(dialect.at("ws://replay.invalid/"));
        }
        let values = self.read().await.map_err(Failure::new)?;
        let url = match &venue.urls {
            Urls::List(urls) => {
                let urls: Vec<_> = urls.iter().collect();
                let url = attempt.pick(&urls);
                let has_secrets = url.places().next().is_some();
                let url = values.fill(url).map_err(Failure::new)?;
                if has_secrets {
                    self.secrets.note_fleeting_url(&url);
                }
                url
            }
            Urls::Command(command) => {
                let url = command::run("url_command", command).await?.trim().to_owned();
                self.secrets.note_fleeting_url(&url);
                url
            }
        };
        let signed = match venue.login.as_ref().map(|login| &login.how) {
            Some(How::Command(command)) => {
                let signed = command::run("login.command", command).await?;
                self.secrets.note_fleeting(&signed);
                signed
            }
            _ => String::new(),
        };
        let headers: Result<Vec<_>, String> =
            venue.headers.iter().map(|(name, value)| Ok((name, values.fill(value)?))).collect();
        let headers = headers.map_err(Failure::new)?;
        let dialect = FileDialect::new(venue.clone(), values, signed, self.limit);
        let dial = dialect.at(url);
        Ok(headers.into_iter().fold(dial, |dial, (name, value)| dial.header(name, value)))
    }

    /// Reads the secrets, on a thread where that may block.
    async fn read(&self) -> Result<Values, String> {
        if !Values::has_any(&self.venue) {
            return Ok(Values::default());
        }
        let (venue, secrets) = (self.venue.clone(), self.secrets.clone());
        let read = tokio::task::spawn_blocking(move || Values::read(&venue, &secrets));
        read.await.unwrap_or_else(|err| Err(err.to_string()))
    }

    /// Checks what can be checked before the first dial: that the secrets are there, URLs and header lines. Returns the
    /// secrets.
    pub(crate) fn check(
        &self,
        options: impl Fn(ConnectionBuilder) -> ConnectionBuilder,
    ) -> Result<Values, Usage> {
        let values = Values::read(&self.venue, &self.secrets).map_err(Usage)?;
        let bare = || options(Connection::builder("ws://127.0.0.1/"));
        bare().request_head()?;
        for (name, value) in &self.venue.headers {
            let value = values.fill(value).map_err(Usage)?;
            let builder = bare().header(name.as_str(), value);
            builder.request_head().map_err(|err| {
                Usage(format!("`headers`: {}", self.secrets.hide(&err.to_string())))
            })?;
        }
        let Urls::List(urls) = &self.venue.urls else { return Ok(values) };
        for url in urls {
            let url = values.fill(url).map_err(Usage)?;
            self.secrets.note_url(&url);
            let builder = options(Connection::builder(url));
            builder.request_head().map_err(|err| {
                Usage(format!("`url`: {}", self.secrets.hide(&in_flags(&err.to_string()))))
            })?;
        }
        Ok(values)
    }
}
