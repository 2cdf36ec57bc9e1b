//! The header lines of the upgrade request, in their order.

use crate::headers::Headers;
use crate::options::plan::Plan;
use crate::options::request::{Auth, HOST, Origin, is_named, leaves_out};
use crate::options::secret::Secret;

impl Plan {
    /// Calls `emit` for each header line of the request that is not the handshake's own, in order, with its name and the
    /// pieces of its value: first this crate's lines, without those that the application replaces or leaves out
    /// with an empty value, then the application's. Lines that may hold credentials, and the application's `Host`, are left out unless the application
    /// named the target's origin. `jar_cookies` are the jar's cookies for this target; the application's own follow them
    /// (as in WebSocketApp).
    pub(crate) fn lines(&self, jar_cookies: Option<&[u8]>, mut emit: impl FnMut(&str, &[&[u8]])) {
        let request = self.options.request.if_set();
        let sent = |name: &str| self.trusted || !(Headers::is_secret(name) || is_named(name, HOST));
        let own = || self.options.headers.iter().filter(|(name, _)| sent(name));
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

const USER_AGENT: &str = concat!("actix-ws-client/", env!("CARGO_PKG_VERSION"));
