//! The upgrade request as a dial would write it, for display.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::dial::redact::Redaction;
use crate::dial::upgrade::request;
use crate::options::Plan;

/// Returns the head of the upgrade request for `plan`, its empty last line included, without cookies of
/// the jar, with a key of its own, and with `***` for the values that may be secret.
pub(crate) fn request_head(plan: &Plan) -> String {
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    let key = key.as_bytes().try_into().expect("16 bytes are 24 in base64");
    Redaction::new(&plan.options).request(&request(plan, None, &key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Reconnect;
    use crate::options::Options;

    fn head(url: &str) -> String {
        request_head(&Plan::new(url, Options::new(Reconnect::default())).unwrap())
    }

    #[test]
    fn a_request_is_shown_without_a_runtime_and_with_another_key_each_time() {
        let (one, other) = (head("ws://h/"), head("ws://h/"));
        assert!(one.starts_with("GET / HTTP/1.1\r\n") && one.ends_with("==\r\n\r\n"), "{one}");
        assert!(one != other && one.len() == other.len());
    }
}
