//! Options of the upgrade request, and of the URL that it is for.

use std::fmt;

use crate::connection::builder::ConnectionBuilder;
use crate::options::per_dial::{Destination, HeaderMaker, UrlMaker, header_line, header_lines};
use crate::options::request::{Auth, Origin};
use crate::options::{Attempt, HeaderText, Secret};

impl ConnectionBuilder {
    /// Adds a header line to the upgrade request (WebSocketApp's `header`). Several of one name are all
    /// sent. The value is never shown in a log.
    ///
    /// `Host`, `Origin`, `User-Agent`, `Authorization` and `Cookie` replace this crate's own, also the
    /// jar's cookies, and cannot be given twice. An empty value of one of the last four leaves that line
    /// out, as curl's `-H 'User-Agent:'` does. `Host` is checked as [`host`](ConnectionBuilder::host) is.
    ///
    /// `start` refuses a name that is not a token, a control character in the value, and the headers that
    /// the handshake itself sets: `Connection`, `Upgrade`, `Sec-WebSocket-…`, and those that describe a
    /// body.
    #[doc(alias("user_agent", "add_header", "extra_headers", "custom_header", "api_key"))]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.headers.push(header_line(name, value));
        self
    }

    /// Adds the header lines of a list or a map, each as [`header`](ConnectionBuilder::header) would
    /// (WebSocketApp's `header` as a dict). A pair whose value is `None` adds no line: this
    /// crate's own line of that name, if there is one, is still sent.
    ///
    /// ```
    /// use actix_ws_client::Connection;
    ///
    /// let token = std::env::var("FEED_TOKEN").ok();
    /// let builder = Connection::builder("wss://feed.example/")
    ///     .headers([("X-Token", token), ("X-Client", Some("desk 7".into()))]);
    /// ```
    #[doc(alias("default_headers", "additional_headers"))]
    pub fn headers<N, V>(mut self, pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: HeaderText,
    {
        self.options.headers.extend(header_lines(pairs));
        self
    }

    /// Adds complete header lines, each `Name: value` (WebSocketApp's `header` as a list), as
    /// [`header`](ConnectionBuilder::header) would. Blanks around the value are removed. `start` refuses a
    /// line without a colon.
    ///
    /// ```
    /// use actix_ws_client::Connection;
    ///
    /// let builder = Connection::builder("wss://feed.example/")
    ///     .header_lines(["X-Client: desk 7", "X-Mode: replay"]);
    /// ```
    pub fn header_lines<L>(mut self, lines: impl IntoIterator<Item = L>) -> Self
    where
        L: AsRef<str>,
    {
        // A line without a colon counts as a value: it may be a secret, which no error may show.
        let parted = |line: &str| match line.split_once(':') {
            Some((name, value)) => header_line(name, value.trim_matches([' ', '\t'])),
            None => header_line("", line),
        };
        self.options.headers.extend(lines.into_iter().map(|line| parted(line.as_ref())));
        self
    }

    /// Sets an async closure that makes header lines for each dial, for example with a token that expires
    /// (WebSocketApp's `header` as a callable). Default: none.
    ///
    /// It runs before the dial, within `connect_timeout`, on the connection's thread, and receives the
    /// number of the attempt and the last error. Its lines replace those of the same name, whether set by
    /// [`header`](ConnectionBuilder::header) or by this crate; a value of `None` makes no line.
    ///
    /// An `Err` is [`Error::Headers`](crate::error::Error::Headers), and retried as the policy says; its
    /// text is shown, so keep secrets out of it. A panic, or a line that `header` would refuse, is
    /// [`Error::Handler`](crate::error::Error::Handler), and ends the run. A 401 ends the run too, even
    /// with a new token.
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
    pub fn headers_with<F, H, N, V, E>(mut self, make: F) -> Self
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

    /// Sets an async closure that makes the URL of each dial, for example with a ticket in the query that
    /// is valid for one dial, or of another server after a failure. Default: the builder's URL, which
    /// `start` checks in any case, and which [`request_head`](ConnectionBuilder::request_head) shows.
    ///
    /// It runs before the dial, and before the closure of
    /// [`headers_with`](ConnectionBuilder::headers_with), within `connect_timeout`, on the connection's
    /// thread, and receives the number of the attempt and the last error.
    ///
    /// An `Err` is [`Error::Url`](crate::error::Error::Url), and retried as the policy says; its text is
    /// shown, so keep secrets out of it. A panic, or a URL that `start` would refuse, is
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
    #[doc(alias("uri", "query", "url", "token_refresh", "signed_url"))]
    pub fn url_with<F, U, E>(self, make: F) -> Self
    where
        F: AsyncFn(Attempt) -> Result<U, E> + Send + Sync + 'static,
        U: Into<String>,
        E: fmt::Display,
    {
        self.destination_with(async move |attempt| make(attempt).await.map(Destination::new))
    }

    /// Sets a closure that makes the URL of each dial, and how it is reached.
    pub(crate) fn destination_with<F, E>(mut self, make: F) -> Self
    where
        F: AsyncFn(Attempt) -> Result<Destination, E> + Send + Sync + 'static,
        E: fmt::Display,
    {
        self.options.url_with = Some(UrlMaker::new(make));
        self
    }

    /// Sets the subprotocols to offer, in order of preference (RFC 6455, 1.9; WebSocketApp's
    /// `subprotocols`). Default: none.
    ///
    /// The server must select one of them, compared case-sensitively; it is
    /// [`Handshake::subprotocol`](crate::command::status::Handshake::subprotocol). A reply with another one,
    /// with two, or with none ends the run with
    /// [`HandshakeError::Subprotocol`](crate::error::HandshakeError::Subprotocol), as browsers do.
    /// `start` refuses a name that is not a token (RFC 9110, 5.6.2), and a duplicate.
    #[doc(alias("protocols", "sec_websocket_protocol", "with_sub_protocol", "sub_protocol"))]
    pub fn subprotocols<S: Into<String>>(mut self, list: impl IntoIterator<Item = S>) -> Self {
        self.options.request.get_mut().subprotocols = list.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the value of `Host` (WebSocketApp's `host`): a host, with `:port` where needed. Default: that
    /// of the URL, without the scheme's default port. The URL alone still decides which address is dialled
    /// and which name TLS verifies. `start` refuses characters that no host has.
    pub fn host(mut self, value: impl Into<String>) -> Self {
        self.options.request.get_mut().host = Some(value.into());
        self
    }

    /// Sets the value of `Origin` (WebSocketApp's `origin`). Default: `http://` or `https://` with the
    /// URL's host. `start` refuses blanks, control characters and an empty value.
    pub fn origin(mut self, value: impl Into<String>) -> Self {
        self.options.request.get_mut().origin = Origin::Own(value.into());
        self
    }

    /// Omits `Origin` (WebSocketApp's `suppress_origin`). Of this and
    /// [`origin`](ConnectionBuilder::origin) the later call counts; an `Origin` set by
    /// [`header`](ConnectionBuilder::header) is still sent.
    pub fn suppress_origin(mut self) -> Self {
        self.options.request.get_mut().origin = Origin::None;
        self
    }

    /// Sets cookies to send, as `name=value; other=value` (WebSocketApp's `cookie`). In `Cookie` they
    /// follow those of the [`cookie_jar`](ConnectionBuilder::cookie_jar). Default: none. They are never
    /// shown in a log. `start` refuses control characters and an empty value.
    pub fn cookie(mut self, cookie: impl Into<String>) -> Self {
        self.options.request.get_mut().cookie = Some(Secret::new(cookie));
        self
    }

    /// Sets whether cookies that servers set, with a 101, a refusal or a redirect, are sent back with later
    /// requests (WebSocketApp's jar, which is one for the whole process). Default: `true`. Each connection
    /// has a jar of its own, in memory only and for the connection's lifetime.
    ///
    /// The jar follows RFC 6265: `Domain`, `Path`, `Max-Age` before `Expires`, `Secure`. It is stricter in
    /// one point: a cookie without `Domain` is sent only to the host *and port* that set it. There is no list
    /// of public suffixes: a `Domain` of one label, such as `com`, is refused, but `co.uk` is not. A cookie of
    /// more than 4 KiB of name and value is ignored. Names and values are sent back as the bytes that were
    /// received.
    ///
    /// A cookie that comes over `ws` cannot be `Secure`, is not sent in the place of a `Secure` one of its
    /// name, and drives out none that came over `wss`; the prefixes `__Secure-` and `__Host-` of a name are
    /// obeyed (RFC 6265bis, 5.4 and 5.7). The jar holds at most 64 cookies and 16 KiB; beyond that
    /// cookies that came over `ws` are dropped, then those of the domain that has the most, those without
    /// `Secure` and then the oldest first.
    #[doc(alias("cookie_store", "cookie_provider"))]
    pub fn cookie_jar(mut self, wanted: bool) -> Self {
        self.options.cookie_jar = wanted;
        self
    }

    /// Sets `Authorization: Basic` (RFC 7617), in place of the URL's user info. It is never shown in a log.
    /// `start` refuses control characters, and a colon in the user's name. Of this and
    /// [`bearer_auth`](ConnectionBuilder::bearer_auth) the later call counts.
    #[doc(alias("http_proxy_auth", "credentials", "username", "password"))]
    pub fn basic_auth(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let (user, password) = (Secret::new(user), Secret::new(password));
        self.options.request.get_mut().auth = Some(Auth::Basic { user, password });
        self
    }

    /// Sets `Authorization: Bearer` (RFC 6750), in place of the URL's user info. It is never shown in a log.
    /// `start` refuses a token of other characters than letters, digits and `-._~+/`, with `=` at the end.
    ///
    /// ```
    /// use actix_ws_client::Connection;
    ///
    /// let builder = Connection::builder("wss://feed.example/")
    ///     .bearer_auth("eyJhbGciOiJub25lIn0.e30.")
    ///     .subprotocols(["feed.v2", "feed.v1"]);
    /// assert!(!format!("{builder:?}").contains("eyJ"));
    /// ```
    #[doc(alias("authorization", "token", "jwt", "oauth"))]
    pub fn bearer_auth(mut self, token: impl Into<String>) -> Self {
        self.options.request.get_mut().auth = Some(Auth::Bearer(Secret::new(token)));
        self
    }

    /// Sets how many redirects (301, 302, 303, 307, 308) one dial follows, all within `connect_timeout`
    /// (WebSocketApp's `redirect_limit` of `connect`). Default: 3, as there. With zero each redirect is an
    /// [`Error::Refused`](crate::error::Error::Refused).
    ///
    /// `Location` may be relative, and `http` and `https` in it stand for `ws` and `wss`. The run ends with
    /// [`Error::Redirect`](crate::error::Error::Redirect) if `Location` is missing or invalid, if it leads
    /// from `wss` to `ws`, or if there is one redirect too many.
    ///
    /// From the first redirect to another origin (scheme, host or port) on, the rest of the dial is without
    /// the credentials of the application and those in the URL, its `Host`, its cookies, and its header
    /// lines, also those of [`headers_with`](ConnectionBuilder::headers_with), except for `Origin`,
    /// `User-Agent` and those that
    /// [`cross_origin_headers`](ConnectionBuilder::cross_origin_headers) lists. The log has the names of
    /// what is left out. Subprotocols are still offered, cookies of the jar are sent by its own rules, and
    /// user info in `Location` is ignored. The proxy is determined for each target. The next dial begins at
    /// the URL again. A [`transport`](ConnectionBuilder::transport) for one use cannot be redirected.
    #[doc(alias("redirect_limit", "redirect", "follow_redirects"))]
    pub fn redirects(mut self, limit: u32) -> Self {
        self.options.redirects = limit;
        self
    }

    /// Sets the names of those [`header`](ConnectionBuilder::header) lines, also of
    /// [`headers_with`](ConnectionBuilder::headers_with), that are sent to every origin that a redirect
    /// leads to. Default: none, so that an API key stays with the origin (scheme, host and port) of the URL.
    /// A later call replaces the list. `start` refuses `Authorization`, `Cookie`, `Host` and other names
    /// whose values are for one origin only.
    ///
    /// ```
    /// use actix_ws_client::Connection;
    ///
    /// let builder = Connection::builder("wss://feed.example/")
    ///     .headers([("X-Api-Key", "abc"), ("Accept-Language", "de")])
    ///     .cross_origin_headers(["Accept-Language"]);
    /// ```
    pub fn cross_origin_headers<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: Into<String>,
    {
        let names = names.into_iter().map(Into::into).collect();
        self.options.request.get_mut().cross_origin_headers = names;
        self
    }
}
