//! The flags about the upgrade request.

use actix_ws_client::ConnectionBuilder;

use crate::from_file;
use crate::usage::Usage;

/// What the request says, beside whole lines. None of it has a parser of clap's: it would repeat a
/// value that it refuses, and these may be secrets.
#[derive(clap::Args)]
pub(crate) struct Upgrade {
    /// Cookies to send, as name=value; other=value, behind those that the server has set; @FILE:
    /// what is in a file
    #[arg(long, value_name = "COOKIES")]
    cookie: Option<String>,

    /// Send back no cookie that the server sets
    #[arg(long)]
    no_cookie_jar: bool,

    /// What Origin says [default: the URL's]
    #[arg(short, long, value_name = "ORIGIN", conflicts_with = "no_origin")]
    origin: Option<String>,

    /// Send no Origin
    #[arg(long)]
    no_origin: bool,

    /// What Host says [default: the URL's]
    #[arg(long, value_name = "HOST[:PORT]")]
    host: Option<String>,

    /// Offer this subprotocol, the most wanted first: the server has to pick one; repeatable
    #[arg(short, long, value_name = "NAME")]
    subprotocol: Vec<String>,

    /// Send Authorization: Basic, in place of the URL's user info; @FILE: what is in a file
    /// [default: WSUP_USER of the environment]
    #[arg(long, value_name = "USER:PASSWORD", conflicts_with = "bearer")]
    user: Option<String>,

    /// Send Authorization: Bearer; @FILE: what is in a file
    /// [default: WSUP_BEARER of the environment]
    #[arg(long, value_name = "TOKEN")]
    bearer: Option<String>,

    /// How many redirects of one dial are followed [default: 3]
    #[arg(long, value_name = "N")]
    redirects: Option<u32>,
}

/// The variable of the environment that stands in for --user.
const USER: &str = "WSUP_USER";

/// The variable of the environment that stands in for --bearer.
const BEARER: &str = "WSUP_BEARER";

fn basic(builder: ConnectionBuilder, from: &str, pair: &str) -> Result<ConnectionBuilder, Usage> {
    let (user, password) =
        pair.split_once(':').ok_or_else(|| Usage(format!("{from}: USER:PASSWORD")))?;
    Ok(builder.basic_auth(user, password))
}

impl Upgrade {
    /// The builder, told of all that.
    pub(crate) fn apply(&self, mut builder: ConnectionBuilder) -> Result<ConnectionBuilder, Usage> {
        let read = |flag: &str, given: &str| {
            from_file::line(given).map_err(|why| Usage(format!("{flag}: {why}")))
        };
        if let Some(cookie) = &self.cookie {
            builder = builder.cookie(read("--cookie", cookie)?);
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
        builder = match (&self.user, &self.bearer) {
            (Some(pair), _) => basic(builder, "--user", &read("--user", pair)?)?,
            (None, Some(token)) => builder.bearer_auth(read("--bearer", token)?),
            // Not a flag: others may see the arguments of a process.
            (None, None) => match (std::env::var(USER), std::env::var(BEARER)) {
                (Ok(_), Ok(_)) => return Err(Usage(format!("{USER} and {BEARER}: one of them"))),
                (Ok(pair), _) => basic(builder, USER, &pair)?,
                (_, Ok(token)) => builder.bearer_auth(token),
                _ => builder,
            },
        };
        if let Some(limit) = self.redirects {
            builder = builder.redirects(limit);
        }
        Ok(builder.cookie_jar(!self.no_cookie_jar).subprotocols(&self.subprotocol))
    }
}
