//! The flags about the upgrade request.

use actix_ws_client::ConnectionBuilder;

use crate::args::Usage;

/// What the request says, beside whole lines. None of it has a parser of clap's: it would repeat a
/// value that it refuses, and these may be secrets.
#[derive(clap::Args)]
pub(crate) struct Upgrade {
    /// Cookies to send, as name=value; other=value, behind those that the server has set
    #[arg(long, value_name = "COOKIES")]
    cookie: Option<String>,

    /// Send back no cookie that the server sets
    #[arg(long)]
    no_cookie_jar: bool,

    /// What Origin says [default: the URL's]
    #[arg(long, value_name = "ORIGIN", conflicts_with = "no_origin")]
    origin: Option<String>,

    /// Send no Origin
    #[arg(long)]
    no_origin: bool,

    /// What Host says [default: the URL's]
    #[arg(long, value_name = "HOST[:PORT]")]
    host: Option<String>,

    /// Offer this subprotocol, the most wanted first: the server has to pick one; repeatable
    #[arg(long, value_name = "NAME")]
    subprotocol: Vec<String>,

    /// Send Authorization: Basic, in place of the URL's user info
    #[arg(long, value_name = "USER:PASSWORD", conflicts_with = "bearer")]
    user: Option<String>,

    /// Send Authorization: Bearer
    #[arg(long, value_name = "TOKEN")]
    bearer: Option<String>,

    /// How many redirects of one dial are followed [default: 3]
    #[arg(long, value_name = "N")]
    redirects: Option<u32>,
}

impl Upgrade {
    /// The builder, told of all that.
    pub(crate) fn tell(&self, mut builder: ConnectionBuilder) -> Result<ConnectionBuilder, Usage> {
        if let Some(cookie) = &self.cookie {
            builder = builder.cookie(cookie.as_str());
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
        if let Some(pair) = &self.user {
            let (user, password) =
                pair.split_once(':').ok_or_else(|| Usage("--user: USER:PASSWORD".into()))?;
            builder = builder.basic_auth(user, password);
        }
        if let Some(token) = &self.bearer {
            builder = builder.bearer_auth(token.as_str());
        }
        if let Some(limit) = self.redirects {
            builder = builder.redirects(limit);
        }
        Ok(builder.cookie_jar(!self.no_cookie_jar).subprotocols(&self.subprotocol))
    }
}
