//! The flags that change the upgrade request.

use actix_ws_client::ConnectionBuilder;

use crate::from_file;
use crate::secrets::Secrets;
use crate::usage::{Usage, variable};

/// The flags of the request, except those for whole header lines. None has a parser of clap: clap repeats
/// a value that it refuses, and these may be secrets.
#[derive(clap::Args)]
pub(crate) struct Upgrade {
    /// Send these cookies, as name=value; other=value, after those that the server has set; @FILE:
    /// the content of a file
    #[arg(long, value_name = "COOKIES")]
    cookie: Option<String>,

    /// Do not send back cookies that the server sets
    #[arg(long)]
    no_cookie_jar: bool,

    /// The value of Origin [default: that of the URL]
    #[arg(short, long, value_name = "ORIGIN", conflicts_with = "no_origin")]
    origin: Option<String>,

    /// Send no Origin
    #[arg(long)]
    no_origin: bool,

    /// The value of Host [default: that of the URL]
    #[arg(long, value_name = "HOST[:PORT]")]
    host: Option<String>,

    /// Offer this subprotocol; repeatable, the preferred one first; the server has to pick one
    #[arg(short, long, value_name = "NAME")]
    subprotocol: Vec<String>,

    /// Send Authorization: Basic, instead of the URL's user info; @FILE: the content of a file
    /// [default: WSUP_USER of the environment]
    #[arg(long, value_name = "USER:PASSWORD", conflicts_with = "bearer")]
    user: Option<String>,

    /// Send Authorization: Bearer; @FILE: the content of a file
    /// [default: WSUP_BEARER of the environment]
    #[arg(long, value_name = "TOKEN")]
    bearer: Option<String>,

    /// Follow at most this many redirects in one dial [default: 3]
    #[arg(long, value_name = "N")]
    redirects: Option<u32>,
}

/// The environment variable with the default of --user.
const USER: &str = "WSUP_USER";

/// The environment variable with the default of --bearer.
const BEARER: &str = "WSUP_BEARER";

fn basic(
    builder: ConnectionBuilder,
    secrets: &Secrets,
    from: &str,
    pair: &str,
) -> Result<ConnectionBuilder, Usage> {
    let (user, password) =
        pair.split_once(':').ok_or_else(|| Usage(format!("{from}: expected USER:PASSWORD")))?;
    secrets.note_basic(user, password);
    Ok(builder.basic_auth(user, password))
}

impl Upgrade {
    /// Returns the `Origin` of requests, where `default` is that of the URL; `None` if there is none.
    pub(crate) fn sent_origin(&self, default: Option<String>) -> Option<String> {
        if self.no_origin {
            return None;
        }
        self.origin.clone().or(default)
    }

    /// Applies the flags to a builder. Notes the secrets among their values.
    pub(crate) fn apply(
        &self,
        mut builder: ConnectionBuilder,
        secrets: &Secrets,
    ) -> Result<ConnectionBuilder, Usage> {
        let read = |flag: &str, given: &str| {
            from_file::line(given).map_err(|why| Usage(format!("{flag}: {why}")))
        };
        if let Some(cookie) = &self.cookie {
            let cookie = read("--cookie", cookie)?;
            secrets.note_cookies(&cookie);
            builder = builder.cookie(cookie);
        }
        if let Some(origin) = &self.origin {
            builder = builder.origin(origin.as_str());
        }
        if self.no_origin {
            builder = builder.suppress_origin();
        }
        if let Some(host) = &self.host {
            builder = builder.host(host.as_str());
        }
        let bearer = |builder: ConnectionBuilder, token: String| {
            secrets.note_token(&token);
            builder.bearer_auth(token)
        };
        builder = match (&self.user, &self.bearer) {
            (Some(pair), _) => basic(builder, secrets, "--user", &read("--user", pair)?)?,
            (None, Some(token)) => bearer(builder, read("--bearer", token)?),
            // Not a flag: other users may see the arguments of a process.
            (None, None) => match (variable(USER)?, variable(BEARER)?) {
                (Some(_), Some(_)) => {
                    return Err(Usage(format!("{USER} and {BEARER}: only one of them may be set")));
                }
                (Some(pair), _) => basic(builder, secrets, USER, &pair)?,
                (_, Some(token)) => bearer(builder, token),
                _ => builder,
            },
        };
        if let Some(limit) = self.redirects {
            builder = builder.redirects(limit);
        }
        Ok(builder.cookie_jar(!self.no_cookie_jar).subprotocols(&self.subprotocol))
    }
}
