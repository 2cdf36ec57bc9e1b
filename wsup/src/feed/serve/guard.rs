//! Which requests are answered.

use std::net::IpAddr;

use actix_web::HttpResponse;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use crate::feed::serve::token::Token;

/// Returns the response that refuses a request for a path. The page at `/` has no data, and is served without a token: it
/// asks for it.
pub(crate) fn refusal(
    path: &str,
    headers: &HeaderMap,
    token: Option<&Token>,
) -> Option<HttpResponse> {
    let Some(token) = token else { return refusal_of_host(headers) };
    let mut given = headers.get_all(AUTHORIZATION).map(HeaderValue::as_bytes);
    if path == "/" || given.next().is_some_and(|given| token.is_in(given)) {
        return None;
    }
    let mut response = HttpResponse::Unauthorized();
    response.insert_header((WWW_AUTHENTICATE, "Bearer")).content_type(TEXT);
    Some(response.body("expected a header line `Authorization: Bearer TOKEN`, with the token of --serve-token-file\n"))
}

/// Without a token only names of this machine are served: a page from elsewhere whose name was made to resolve to
/// 127.0.0.1 would be allowed to read the answers otherwise (DNS rebinding). Nor may a page from elsewhere make a browser
/// ask: it could not read the answers, but take all the room that there is.
fn refusal_of_host(headers: &HeaderMap) -> Option<HttpResponse> {
    let value =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let words = if !is_local(value(HOST.as_str())) {
        "expected the host localhost, or an address of this machine; others need --serve-token-file\n"
    } else if is_of_another_page(value("sec-fetch-site"), value("sec-fetch-mode")) {
        "expected no request of a page from elsewhere\n"
    } else {
        return None;
    };
    Some(HttpResponse::Forbidden().content_type(TEXT).body(words))
}

/// Whether a browser asks for a page from elsewhere, and not because its user follows a link.
fn is_of_another_page(site: &str, mode: &str) -> bool {
    matches!(site, "cross-site" | "same-site") && mode != "navigate"
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Whether the value of `Host` names this machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let is_loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_from_elsewhere_asks_for_nothing() {
        for (site, mode) in
            [("", ""), ("none", "navigate"), ("same-origin", "cors"), ("cross-site", "navigate")]
        {
            assert!(!is_of_another_page(site, mode), "{site} {mode}");
        }
        for (site, mode) in [("cross-site", "no-cors"), ("same-site", "cors"), ("cross-site", "")] {
            assert!(is_of_another_page(site, mode), "{site} {mode}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in
            ["localhost", "LOCALHOST:1", "127.0.0.1:9300", "127.9.9.9", "[::1]", "[::1]:9300"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com:80",
            "192.0.2.1",
            "[2001:db8::1]:1",
            "127.0.0.1.example.com",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
