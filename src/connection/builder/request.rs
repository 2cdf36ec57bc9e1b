//! What the upgrade request says, and to which URL it goes.

use std::fmt;

use crate::connection::builder::ConnectionBuilder;
use crate::options::per_dial::{HeaderMaker, UrlMaker, header_line, header_lines};
use crate::options::request::{Auth, Origin};
use crate::options::{Attempt, HeaderText, Secret};

impl ConnectionBuilder {
    /// Adds a header line to the upgrade request (WebSocketApp's `header`). More of one name are all
    /// sent. `Host`, `Origin`, `User-Agent`, `Authorization` and `Cookie` take the place of ours, also
    /// of the jar's cookies, and cannot be given twice. The value is never shown in a log. `start`
    /// refuses a name that is no token, a control character in the value, and what the handshake
    /// itself sets: `Connection`, `Upgrade`, `Sec-WebSocket-…`, and lines about a body.
    pub fn header(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> ConnectionBuilder {
        self.options.headers.push(header_line(name, value));
        self
    }

    /// Adds the header lines of a list or a map, each as [`header`](ConnectionBuilder::header) would
    /// (WebSocketApp's `header` as a dict). A value of `None` is no line at all.
    ///
    /// ```
    /// use actix_ws_client::Connection;
    ///
    /// let token = std::env::var("FEED_TOKEN").ok();
    /// let builder = Connection::builder("wss://feed.example/")
    ///     .headers([("X-Token", token), ("X-Client", Some("desk 7".into()))]);
    /// ```
    pub fn headers<N, V>(mut self, pairs: impl IntoIterator<Item = (N, V)>) -> ConnectionBuilder
    where
        N: Into<String>,
        V: HeaderText,
    {
        self.options.headers.extend(header_lines(pairs));
        self
    }

    /// Adds header lines that are whole already, as `Name: value` (WebSocketApp's `header` as a
    /// list), each as [`header`](ConnectionBuilder::header) would. Blanks around the value are left
    /// out. `start` refuses a line without a colon.
    ///
    /// ```
    /// use actix_ws_client::Connection;
    ///
    /// let builder = Connection::builder("wss://feed.example/")
    ///     .header_lines(["X-Client: desk 7", "X-Mode: replay"]);
    /// ```
    pub fn header_lines<L>(mut self, lines: impl IntoIterator<Item = L>) -> ConnectionBuilder
    where
        L: AsRef<str>,
    {
        // Without a colon it is all value, so that no refusal shows it.
        let parted = |line: &str| match line.split_once(':') {
            Some((name, value)) => header_line(name, value.trim_matches([' ', '\t'])),
            None => header_line("", line),
        };
        self.options.headers.extend(lines.into_iter().map(|line| parted(line.as_ref())));
        self
    }

    /// Header lines made anew for each dial, by an async closure that runs before it, within
    /// `connect_timeout`, on the connection's thread (WebSocketApp's `header` as a callable): a
    /// token that expires, for example. It sees the number of the attempt and the last error. Its
    /// lines replace those of the same name, by [`header`](ConnectionBuilder::header) or ours; a value
    /// of `None` is no line. Default: none.
    ///
    /// An `Err` of it is [`Error::Headers`](crate::error::Error::Headers), and retried as the policy
    /// says; its words are shown, so keep secrets out of them. A panic, or a line that `header` would
    /// refuse, is [`Error::Handler`](crate::error::Error::Handler), and ends the run. A 401 ends the
    /// run too, fresh token or not.
    ///
    /// ```
    /// use actix_ws_client::Connection;
    ///
    /// async fn fresh_token() -> Result<String, std::io::Error> {
    ///     Ok("abc".into())
    /// }
    ///
    /// let builder = Connection::builder("wss://feed.example/").headers_with(async |_attempt| {
    ///     let token = fresh_token().await?;
    ///     Ok::<_, std::io::Error>([("Authorization", format!("Bearer {token}"))])
    /// });
    /// ```
    pub fn headers_with<F, H, N, V, E>(mut self, make: F) -> ConnectionBuilder
    where
        F: AsyncFn(Attempt) -> Result<H, E> + Send + Sync + 'static,
        H: IntoIterator<Item = (N, V)>,
        N: Into<String>,
        V: HeaderText,
        E: fmt::Display,
    {
        self.options.headers_with = Some(HeaderMaker::new(make));
        self
    }

    /// The URL, made anew for each dial by an async closure that runs before it, and before that of
    /// [`headers_with`](ConnectionBuilder::headers_with), within `connect_timeout`, on the
    /// connection's thread: a ticket in the query that is good for one dial, or another server after
    /// a failure. It sees the number of the attempt and the last error. Default: the builder's URL,
    /// which is checked by `start` all the same, and shown by
    /// [`request_head`](ConnectionBuilder::request_head).
    ///
    /// An `Err` of it is [`Error::Url`](crate::error::Error::Url), and retried as the policy says; its
    /// words are shown, so keep secrets out of them. A panic, or a URL that `start` would refuse, is
    /// [`Error::Handler`](crate::error::Error::Handler), and ends the run.
    ///
    /// ```
    /// use actix_ws_client::Connection;
    ///
    /// const SERVERS: [&str; 2] = ["wss://a.feed.example/", "wss://b.feed.example/"];
    ///
    /// let builder = Connection::builder(SERVERS[0]).url_with(async |attempt| {
    ///     Ok::<_, std::io::Error>(SERVERS[(attempt.number as usize - 1) % SERVERS.len()])
    /// });
    /// ```
    pub fn url_with<F, U, E>(mut self, make: F) -> ConnectionBuilder
    where
        F: AsyncFn(Attempt) -> Result<U, E> + Send + Sync + 'static,
        U: Into<String>,
        E: fmt::Display,
    {
        self.options.url_with = Some(UrlMaker::new(make));
        self
    }

    /// Subprotocols to offer, the most wanted first (RFC 6455, 1.9; WebSocketApp's
    /// `subprotocols`). Default: none. The server has to pick one of them, letter for letter: what
    /// it picked is [`Handshake::subprotocol`](crate::command::status::Handshake::subprotocol).
    /// Another one, two, or none at all ends the run with
    /// [`HandshakeError::Subprotocol`](crate::error::HandshakeError::Subprotocol), as browsers do.
    /// `start` refuses what is no token (RFC 9110, 5.6.2), and one that is there twice.
    pub fn subprotocols<S: Into<String>>(
        mut self,
        list: impl IntoIterator<Item = S>,
    ) -> ConnectionBuilder {
        self.options.request.get_mut().subprotocols = list.into_iter().map(Into::into).collect();
        self
    }

    /// What `Host` says (WebSocketApp's `host`): a host, with `:port` where needed. Default: that of
    /// the URL, without the scheme's own port. Where to dial, and whom TLS verifies, stays the URL's
    /// affair. `start` refuses characters that no host has.
    pub fn host(mut self, value: impl Into<String>) -> ConnectionBuilder {
        self.options.request.get_mut().host = Some(value.into());
        self
    }

    /// What `Origin` says (WebSocketApp's `origin`). Default: `http://` or `https://` with the
    /// URL's host. `start` refuses blanks, control characters and an empty value.
    pub fn origin(mut self, value: impl Into<String>) -> ConnectionBuilder {
        self.options.request.get_mut().origin = Origin::Own(value.into());
        self
    }

    /// Sends no `Origin` (WebSocketApp's `suppress_origin`). Of this and
    /// [`origin`](ConnectionBuilder::origin) the later one counts; an `Origin` by
    /// [`header`](ConnectionBuilder::header) is sent all the same.
    pub fn suppress_origin(mut self) -> ConnectionBuilder {
        self.options.request.get_mut().origin = Origin::None;
        self
    }

    /// Cookies of one's own, as `name=value; other=value` (WebSocketApp's `cookie`). They stand in
    /// `Cookie` behind those of the [`cookie_jar`](ConnectionBuilder::cookie_jar). Default: none.
    /// Never shown in a log. `start` refuses control characters and an empty value.
    pub fn cookie(mut self, cookie: impl Into<String>) -> ConnectionBuilder {
        self.options.request.get_mut().cookie = Some(Secret::new(cookie));
        self
    }

    /// Whether cookies that servers set, with a 101, a refusal or a redirect, go back to them with
    /// later requests (WebSocketApp's jar, which is one for the whole process). Default: on, with a jar
    /// of its own for each connection, in memory alone and for as long as the connection lives.
    ///
    /// By RFC 6265: `Domain`, `Path`, `Max-Age` before `Expires`, `Secure`. Stricter than that, a
    /// cookie without `Domain` goes to the host *and port* that set it, and a `Secure` one is taken
    /// over `wss` alone. There is no list of public suffixes: a `Domain` of one label, such as `com`,
    /// is refused, but `co.uk` is not. It holds 64 cookies and 16 KiB of them; beyond that the oldest
    /// go, first those of the same domain. A `Set-Cookie` of more than 4 KiB is passed over.
    pub fn cookie_jar(mut self, wanted: bool) -> ConnectionBuilder {
        self.options.cookie_jar = wanted;
        self
    }

    /// `Authorization: Basic` (RFC 7617), in place of the URL's user info. Never shown in a log.
    /// `start` refuses control characters, and a colon in the user's name. Of this and
    /// [`bearer_auth`](ConnectionBuilder::bearer_auth) the later one counts.
    pub fn basic_auth(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> ConnectionBuilder {
        let (user, password) = (Secret::new(user), Secret::new(password));
        self.options.request.get_mut().auth = Some(Auth::Basic { user, password });
        self
    }

    /// `Authorization: Bearer` (RFC 6750), in place of the URL's user info. Never shown in a log.
    /// `start` refuses what is no such token: letters, digits and `-._~+/`, with `=` at the end.
    ///
    /// ```
    /// use actix_ws_client::Connection;
    ///
    /// let builder = Connection::builder("wss://feed.example/")
    ///     .bearer_auth("eyJhbGciOiJub25lIn0.e30.")
    ///     .subprotocols(["feed.v2", "feed.v1"]);
    /// assert!(!format!("{builder:?}").contains("eyJ"));
    /// ```
    pub fn bearer_auth(mut self, token: impl Into<String>) -> ConnectionBuilder {
        self.options.request.get_mut().auth = Some(Auth::Bearer(Secret::new(token)));
        self
    }

    /// How many redirects (301, 302, 303, 307, 308) one dial follows, all within `connect_timeout`
    /// (WebSocketApp's `redirect_limit` of `connect`). Default 3, as there; zero follows none: each
    /// is an [`Error::Refused`](crate::error::Error::Refused).
    ///
    /// `Location` may be relative, and `http` and `https` in it stand for `ws` and `wss`. Where it is
    /// missing or cannot be, leads from `wss` to `ws`, or is one too many, the run ends with
    /// [`Error::Redirect`](crate::error::Error::Redirect). From the first step to another origin
    /// (scheme, host or port) on, `Cookie`, `Authorization`, credentials in the URL and a `Host` of
    /// one's own stay behind; any other [`header`](ConnectionBuilder::header) goes along, and user
    /// info in `Location` is not used. Cookies of the jar go where they belong. Each target has a proxy
    /// of its own. The next dial begins at the URL again. A prepared
    /// [`transport`](ConnectionBuilder::transport) cannot be redirected.
    pub fn redirects(mut self, limit: u32) -> ConnectionBuilder {
        self.options.redirects = limit;
        self
    }
}
