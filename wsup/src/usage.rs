//! Errors in the arguments.

use std::ffi::OsString;

use actix_ws_client::ConfigError;

/// Why the arguments are not valid. The text never repeats a header or a URL.
pub(crate) struct Usage(pub(crate) String);

/// The environment variable with the password of --key.
pub(crate) const KEY_PASSWORD: &str = "WSUP_KEY_PASSWORD";

/// Returns the value of an environment variable, if it is set.
///
/// # Errors
/// If it is not UTF-8: to ignore it would send no credentials.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Usage> {
    let value = std::env::var_os(name).map(OsString::into_string).transpose();
    value.map_err(|_| Usage(format!("{name}: not UTF-8")))
}

impl From<ConfigError> for Usage {
    fn from(err: ConfigError) -> Usage {
        match err {
            ConfigError::Option { option, reason }
            | ConfigError::Authorities { option, reason } => {
                Usage(format!("{}: {}", flag(option), in_flags(&reason)))
            }
            other => Usage(in_flags(&other.to_string())),
        }
    }
}

/// Replaces the names of the library in an error text by flags.
pub(crate) fn in_flags(text: &str) -> String {
    NAMES.iter().fold(text.to_owned(), |text, (name, flag)| text.replace(name, flag))
}

/// Names of the library as its error texts have them, and what takes their place in the output, replaced in this order.
/// There are no flags for the TLS of a proxy.
const NAMES: [(&str, &str); 19] = [
    (" to `Tls::ca_file` in `proxy_tls` or the", " to the"),
    (", set with `Tls::client_cert_file` in `proxy_tls`", ", which wsup sends to no proxy"),
    (": set one with `Tls::client_cert_file` in `proxy_tls`", "; wsup sends none to a proxy"),
    (", or set the one to verify with `Tls::server_name` in `proxy_tls`", ""),
    ("; set another with `Tls::server_name` in `proxy_tls`", ""),
    (
        ", in the bounds of `Tls::min_version` in `proxy_tls` and `Tls::max_version` in `proxy_tls`",
        "",
    ),
    (", or use `Tls::webpki_roots` of the feature `webpki-roots`", ""),
    ("`Tls::ca_file`, `--cacert`", "--cacert"),
    // These name their flag themselves.
    ("`Tls::ca_file`, wsup's ", ""),
    ("`Tls::client_cert_file`, wsup's ", ""),
    ("`Tls::server_name`, wsup's ", ""),
    ("`Tls::min_version`, wsup's ", ""),
    ("`Tls::max_version`, wsup's ", ""),
    ("(Limits::frame)", "(--max-message)"),
    ("(Limits::message)", "(--max-message)"),
    (" (Limits::fragments)", ", for which there is no flag"),
    (", see `redirects`", " (--redirects)"),
    ("`ping_timeout`", "--ping-timeout"),
    ("`idle_timeout`", "--idle-timeout"),
];

/// Returns the flag that sets an option of the builder.
fn flag(option: &str) -> String {
    match option {
        "basic_auth" => "--user".into(),
        "bearer_auth" => "--bearer".into(),
        "ca" => "--cacert".into(),
        "client_cert" => "--cert".into(),
        "client_key" => "--key".into(),
        "client_key_password" => KEY_PASSWORD.into(),
        "server_name" => "--servername".into(),
        "min_version" => "--tls-min".into(),
        "limits" => "--max-message".into(),
        "subprotocols" => "--subprotocol".into(),
        // For an environment variable the option is its name.
        variable if variable.to_ascii_lowercase().ends_with("_proxy") => variable.into(),
        variable if variable.starts_with(|first: char| first.is_ascii_uppercase()) => {
            variable.into()
        }
        _ => format!("--{}", option.replace('_', "-")),
    }
}

#[cfg(test)]
mod tests {
    use actix_ws_client::error::RedirectError;
    use actix_ws_client::proto::error::ProtocolError;

    use super::*;

    #[test]
    fn names_of_the_library_become_flags() {
        let said = |err: &dyn std::fmt::Display| in_flags(&err.to_string());
        for (text, expected) in [
            (
                said(&ProtocolError::FrameTooLarge { len: 2, limit: 1 }),
                "frame of 2 bytes, over the limit of 1 (--max-message)",
            ),
            (
                said(&ProtocolError::MessageTooLarge { limit: 1 }),
                "message over the limit of 1 bytes (--max-message)",
            ),
            (
                said(&ProtocolError::TooManyFragments { limit: 1 }),
                "message over the limit of 1 fragments, for which there is no flag",
            ),
            (said(&RedirectError::TooMany { limit: 3 }), "more than 3 (--redirects)"),
            (
                in_flags("give its file to `Tls::ca_file`, wsup's --cacert or the variable X"),
                "give its file to --cacert or the variable X",
            ),
            (
                in_flags("give its file to `Tls::ca_file` in `proxy_tls` or the variable X"),
                "give its file to the variable X",
            ),
        ] {
            assert_eq!(text, expected);
        }
    }
}
