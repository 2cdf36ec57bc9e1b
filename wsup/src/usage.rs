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
                Usage(format!("{}: {reason}", flag(option)))
            }
            other => Usage(other.to_string()),
        }
    }
}

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
