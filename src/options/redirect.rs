//! The plan for the target of a redirect.

use url::Url;

use crate::error::{ConfigError, RedirectError};
use crate::options::plan::Plan;
use crate::options::target::Target;
use crate::options::transport::TransportFactory;

impl Plan {
    /// Returns the plan for the target of a redirect. The proxy is determined for the new target.
    ///
    /// # Errors
    /// Why `Location` is invalid, or may not be followed.
    pub(crate) fn redirected(&self, location: Option<&str>) -> Result<Plan, RedirectError> {
        let location = location.ok_or(RedirectError::Missing)?;
        let target = resolve(&self.target, location)?;
        if self.target.secure && !target.secure {
            return Err(RedirectError::Downgrade);
        }
        let same = self.target.secure == target.secure
            && self.target.host == target.host
            && self.target.port == target.port;
        // Also a redirect back to the first origin gets no credentials: a foreign server chose its URL.
        let trusted = self.trusted && same;
        let authorization = self.target.authorization.clone().filter(|_| trusted);
        // The same host is at the same interface. A server does not know our zones, so it names none.
        let zone = self.target.zone.clone().filter(|_| self.target.host == target.host);
        let target = Target { authorization, zone, ..target };
        let no_way = |err: &dyn ToString| RedirectError::Way(err.to_string().into());
        if self.options.transport.as_ref().is_some_and(TransportFactory::is_once) {
            return Err(no_way(&"the transport is for one server"));
        }
        Plan::build(target, self.options.clone(), trusted, self.clients.clone()).map_err(|err| {
            match err {
                ConfigError::Authorities { .. } => {
                    RedirectError::Authorities(err.to_string().into())
                }
                err => no_way(&err),
            }
        })
    }
}

/// Resolves `Location` against the target (RFC 9110, 10.2.2). `http` and `https` in it mean `ws` and `wss`.
fn resolve(target: &Target, location: &str) -> Result<Target, RedirectError> {
    let scheme = if target.secure { "wss" } else { "ws" };
    let base = format!("{scheme}://{}{}", target.authority, target.resource);
    let refuse = |err: &dyn ToString| RedirectError::Location(err.to_string().into());
    let base = Url::parse(&base).map_err(|err| refuse(&err))?;
    let mut url = base.join(location).map_err(|err| refuse(&err))?;
    // Ignored, and so not checked either. Both fail only where there can be no user info.
    let _ = (url.set_username(""), url.set_password(None));
    let ours = match url.scheme() {
        "http" => "ws",
        "https" => "wss",
        _ => return Target::parse(url.as_str()).map_err(|err| refuse(&err)),
    };
    url.set_scheme(ours).map_err(|()| RedirectError::Location("its scheme".into()))?;
    Target::parse(url.as_str()).map_err(|err| refuse(&err))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Reconnect;
    use crate::options::{Options, Secret};

    fn plan(url: &str) -> Plan {
        let mut options = Options::new(Reconnect::never());
        options.proxy_from_env = false;
        options.request.get_mut().cookie = Some(Secret::new("a=1"));
        Plan::new(url, options).unwrap()
    }

    /// Returns the target of a redirect as a URL.
    fn led(from: &str, location: &str) -> Result<String, RedirectError> {
        let target = plan(from).redirected(Some(location))?.target;
        let scheme = if target.secure { "wss" } else { "ws" };
        Ok(format!("{scheme}://{}{}", target.authority, target.resource))
    }

    #[test]
    fn a_location_is_relative_or_absolute_and_may_speak_http() {
        for (from, location, expected) in [
            ("ws://h/a/b?x", "c", "ws://h/a/c"),
            ("ws://h/a/b?x", "/c?y#z", "ws://h/c?y"),
            ("ws://h/a/b", "?y", "ws://h/a/b?y"),
            ("ws://h:81/", "//other/c", "ws://other/c"),
            ("ws://h/", "http://h:80/c", "ws://h/c"),
            ("ws://h/", "HTTPS://h/c", "wss://h/c"),
            ("wss://h/", "https://h:443/c", "wss://h/c"),
            ("ws://h/", "wss://[::1]:8/", "wss://[::1]:8/"),
            ("ws://h/", "ws://u%3A%0a:p@g/", "ws://g/"),
        ] {
            assert_eq!(led(from, location), Ok(expected.to_owned()), "{from} {location}");
        }
    }

    #[test]
    fn a_location_that_may_not_be_gone_to_is_refused() {
        assert_eq!(led("wss://h/", "ws://h/"), Err(RedirectError::Downgrade));
        assert_eq!(led("wss://h/", "http://h/"), Err(RedirectError::Downgrade));
        assert_eq!(plan("ws://h/").redirected(None).unwrap_err(), RedirectError::Missing);
        for location in ["ftp://h/", "javascript:x", "http://", "ws://h:0/", "http://a b/"] {
            let refused = led("ws://h/", location);
            assert!(matches!(refused, Err(RedirectError::Location(_))), "{location}: {refused:?}");
        }
    }

    #[test]
    fn the_same_host_is_behind_the_same_interface() {
        let zoned = plan("ws://[fe80::1%eth0]/");
        let host =
            |location| zoned.redirected(Some(location)).unwrap().target.zoned_host().into_owned();
        assert_eq!(host("/b"), "fe80::1%eth0");
        assert_eq!(host("ws://[fe80::1]:81/"), "fe80::1%eth0");
        assert_eq!(host("ws://[fe80::2]/"), "fe80::2");
    }

    #[test]
    fn who_asks_is_told_to_the_same_origin_alone() {
        let told = |plan: &Plan| {
            let mut names = Vec::new();
            plan.lines(None, |name, _| names.push(name.to_owned()));
            let has = |name: &str| names.iter().any(|other| other == name);
            (has("Cookie"), has("Authorization"))
        };
        let first = plan("ws://us:pw@h/");
        let to = |plan: &Plan, location| plan.redirected(Some(location)).unwrap();
        assert_eq!(told(&to(&first, "/b")), (true, true));
        for other in ["wss://h/", "ws://h:81/", "ws://g/", "ws://evil:pw@g/"] {
            assert_eq!(told(&to(&first, other)), (false, false), "{other}");
        }
        let back = to(&to(&first, "ws://g/"), "ws://h/");
        assert_eq!(told(&back), (false, false));
    }

    #[test]
    fn each_target_has_a_proxy_of_its_own() {
        let mut options = Options::new(Reconnect::never());
        options.proxy = Some(Secret::new("http://p:1"));
        options.no_proxy = Some("g".into());
        let first = Plan::new("ws://h/", options).unwrap();
        assert!(first.detour.is_some());
        let second = first.redirected(Some("ws://g/")).unwrap();
        assert!(second.detour.is_none() && second.tls.is_none());
        assert!(second.redirected(Some("wss://h/")).unwrap().detour.is_some());
    }
}
