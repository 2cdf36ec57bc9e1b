//! The header lines of the upgrade request, in their order.

use crate::options::plan::Plan;
use crate::options::request::{Auth, Origin, is_named, leaves_out};
use crate::options::secret::Secret;

impl Plan {
    /// Calls `emit` for each header line of the request that is not the handshake's own, in order, with its name and the
    /// pieces of its value: first this crate's lines, without those that the application replaces or leaves out
    /// with an empty value, then the application's. An origin that the application did not name receives no credentials,
    /// and of the application's lines only those for every origin. `jar_cookies` are the jar's cookies for this target;
    /// the application's own follow them (as in WebSocketApp).
    pub(crate) fn lines(&self, jar_cookies: Option<&[u8]>, mut emit: impl FnMut(&str, &[&[u8]])) {
        let request = self.options.request.if_set();
        let own = || self.options.headers.iter().filter(|(name, value)| self.applies(name, value));
        let mut add = |ours: &str, value: &[&[u8]]| {
            if !own().any(|(name, _)| is_named(name, ours)) {
                emit(ours, value);
            }
        };
        add("Host", &[self.host().as_bytes()]);
        match request.map(|request| &request.origin) {
            None | Some(Origin::Target) => {
                add("Origin", &self.target.origin().map(str::as_bytes));
            }
            Some(Origin::None) => {}
            Some(Origin::Own(origin)) => add("Origin", &[origin.as_bytes()]),
        }
        add("User-Agent", &[USER_AGENT.as_bytes()]);
        if let Some(offered) = request.map(|request| &request.subprotocols)
            && !offered.is_empty()
        {
            add("Sec-WebSocket-Protocol", &[offered.join(", ").as_bytes()]);
        }
        if let Some(offer) = self.options.compression.offer() {
            add("Sec-WebSocket-Extensions", &[offer.as_bytes()]);
        }
        if self.trusted {
            let chosen = request.and_then(|request| request.auth.as_ref()).map(Auth::line);
            if let Some(line) = chosen.as_ref().or(self.target.authorization.as_ref()) {
                add("Authorization", &[line.reveal().as_bytes()]);
            }
        }
        let cookie = request.and_then(|request| request.cookie.as_ref());
        let cookie = cookie.filter(|_| self.trusted).map(|cookie| cookie.reveal().as_bytes());
        match (jar_cookies, cookie) {
            (Some(ours), Some(cookie)) => add("Cookie", &[ours, b"; ", cookie]),
            (Some(cookie), None) | (None, Some(cookie)) => add("Cookie", &[cookie]),
            (None, None) => {}
        }
        let sent = own().filter(|(name, value)| !leaves_out(name, value));
        sent.for_each(|(name, value)| emit(name, &[value.reveal().as_bytes()]));
    }

    /// Returns whether a line of the application's applies to the target: any does to an origin that the application
    /// named. To another one apply those that describe the client, those that the application listed, and those that leave
    /// a line of ours out.
    fn applies(&self, name: &str, value: &Secret) -> bool {
        let listed = |list: &[String]| list.iter().any(|other| is_named(name, other));
        self.trusted
            || CLIENT_HEADERS.iter().any(|other| is_named(name, other))
            || leaves_out(name, value)
            || self.options.request.if_set().is_some_and(|it| listed(&it.cross_origin_headers))
    }

    /// Returns the names of the lines that a request by this plan has and one by `redirected` has not, each once.
    pub(crate) fn lines_left_out(&self, redirected: &Plan) -> Vec<String> {
        let names = |plan: &Plan| {
            let mut names: Vec<String> = Vec::new();
            plan.lines(None, |name, _| {
                if !names.iter().any(|other| is_named(name, other)) {
                    names.push(name.to_owned());
                }
            });
            names
        };
        let (mut left_out, sent) = (names(self), names(redirected));
        left_out.retain(|name| !sent.iter().any(|other| is_named(name, other)));
        left_out
    }

    /// Returns whether the request has an `Authorization`.
    pub(crate) fn is_authorized(&self) -> bool {
        let mut found = false;
        self.lines(None, |name, _| found |= is_named(name, "authorization"));
        found
    }

    /// Returns the value of `User-Agent` for a proxy (RFC 9110, 10.1.5); `None` if the application left that line out.
    /// A value of the application's own is for the server alone.
    pub(crate) fn proxy_user_agent(&self) -> Option<&'static str> {
        let headers = &self.options.headers;
        let left_out = |(name, value): &(String, Secret)| {
            is_named(name, "user-agent") && leaves_out(name, value)
        };
        (!headers.iter().any(left_out)).then_some(USER_AGENT)
    }

    /// Returns the value of `Host`.
    fn host(&self) -> &str {
        let chosen = self.options.request.if_set().and_then(|request| request.host.as_ref());
        chosen.filter(|_| self.trusted).unwrap_or(&self.target.authority)
    }
}

/// Lines of the application's that describe the client to any server, and hold no secret.
const CLIENT_HEADERS: [&str; 2] = ["origin", "user-agent"];

const USER_AGENT: &str = concat!("actix-ws-client/", env!("CARGO_PKG_VERSION"));
