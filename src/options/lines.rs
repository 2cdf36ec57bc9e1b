//! The header lines of the upgrade request, put together.

use crate::headers::Headers;
use crate::options::plan::Plan;
use crate::options::request::{Auth, HOST, Origin, is_named};
use crate::options::secret::Secret;

impl Plan {
    /// Tells the lines of the request that are not the handshake's own, in order, each by its name
    /// and the pieces of its value: ours, but for those that the application has its own of, then
    /// the application's. Whatever says who asks goes to the origin alone that the application
    /// named. `kept` are the jar's cookies for this target; the application's own stand behind them
    /// (as WebSocketApp has it).
    pub(crate) fn lines(&self, kept: Option<&str>, mut tell: impl FnMut(&str, &[&str])) {
        let request = self.options.request.if_set();
        let sent = |name: &str| self.trusted || !(Headers::is_secret(name) || is_named(name, HOST));
        let own = || self.options.headers.iter().filter(|(name, _)| sent(name));
        let mut add = |ours: &str, value: &[&str]| {
            if !own().any(|(name, _)| is_named(name, ours)) {
                tell(ours, value);
            }
        };
        add("Host", &[self.host()]);
        match request.map(|request| &request.origin) {
            None | Some(Origin::Target) => add("Origin", &self.target.origin()),
            Some(Origin::None) => {}
            Some(Origin::Own(origin)) => add("Origin", &[origin]),
        }
        add("User-Agent", &[USER_AGENT]);
        if let Some(offered) = request.map(|request| &request.subprotocols)
            && !offered.is_empty()
        {
            add("Sec-WebSocket-Protocol", &[&offered.join(", ")]);
        }
        if let Some(offer) = self.options.compression.offer() {
            add("Sec-WebSocket-Extensions", &[&offer]);
        }
        if self.trusted {
            let chosen = request.and_then(|request| request.auth.as_ref()).map(Auth::line);
            if let Some(line) = chosen.as_ref().or(self.target.authorization.as_ref()) {
                add("Authorization", &[line.reveal()]);
            }
        }
        let cookie = request.and_then(|request| request.cookie.as_ref());
        let cookie = cookie.filter(|_| self.trusted).map(Secret::reveal);
        match (kept, cookie) {
            (Some(kept), Some(cookie)) => add("Cookie", &[kept, "; ", cookie]),
            (Some(cookie), None) | (None, Some(cookie)) => add("Cookie", &[cookie]),
            (None, None) => {}
        }
        own().for_each(|(name, value)| tell(name, &[value.reveal()]));
    }

    fn host(&self) -> &str {
        let chosen = self.options.request.if_set().and_then(|request| request.host.as_ref());
        chosen.filter(|_| self.trusted).unwrap_or(&self.target.authority)
    }
}

const USER_AGENT: &str = concat!("actix-ws-client/", env!("CARGO_PKG_VERSION"));
