//! People who come from other clients find what they look for: each alias of the documentation's search stands
//! at the item that does it, and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each item with its aliases: what users of websocket-client, tokio-tungstenite, reqwest, ws and websockets type.
const ALIASES: &[(&str, &str, &[&str])] = &[
    ("requests/mod.rs", "struct Requests", &["rpc", "request_response", "correlation_id"]),
    (
        "connection/builder/mod.rs",
        "fn connect_timeout",
        &["open_timeout", "timeout", "handshake_timeout", "connection_timeout"],
    ),
    (
        "connection/builder/mod.rs",
        "fn ping_interval",
        &["heartbeat", "keep_alive", "keepalive", "ping_every", "auto_ping", "heartbeat_interval"],
    ),
    ("connection/builder/mod.rs", "fn ping_timeout", &["pong_timeout"]),
    ("connection/builder/mod.rs", "fn idle_timeout", &["read_timeout", "recv_timeout"]),
    (
        "connection/builder/mod.rs",
        "fn reconnect",
        &["backoff", "retry", "auto_reconnect", "reconnect_interval", "retry_policy"],
    ),
    ("connection/builder/mod.rs", "fn no_reconnect", &["connect_once", "disable_reconnect"]),
    (
        "connection/builder/mod.rs",
        "fn max_attempts",
        &["max_retries", "max_reconnect_attempts", "retries"],
    ),
    ("connection/builder/mod.rs", "fn dial_limit", &["rate_limit", "throttle"]),
    (
        "connection/builder/way.rs",
        "fn tls",
        &["ssl", "sslopt", "rustls", "connector", "use_rustls_tls", "ssl_context"],
    ),
    (
        "connection/builder/way.rs",
        "fn proxy",
        &["http_proxy", "https_proxy", "socks", "socks5", "http_proxy_host", "proxy_type"],
    ),
    ("connection/builder/way.rs", "fn proxy_from_env", &["system_proxy", "trust_env"]),
    ("connection/builder/way.rs", "fn no_proxy", &["http_no_proxy", "proxy_bypass"]),
    ("connection/builder/way.rs", "fn bind_address", &["local_address", "source_address"]),
    ("connection/builder/way.rs", "fn socket_options", &["sockopt", "tcp_nodelay", "set_nodelay"]),
    (
        "connection/builder/way.rs",
        "fn transport_with",
        &["client_async", "custom_connector", "unix_socket"],
    ),
    ("connection/builder/way.rs", "fn transport", &["from_raw_socket"]),
    (
        "connection/builder/mod.rs",
        "fn compression",
        &["permessage_deflate", "deflate", "gzip", "extensions"],
    ),
    ("connection/builder/mod.rs", "fn skip_utf8_validation", &["validate_utf8"]),
    (
        "connection/builder/mod.rs",
        "fn limits",
        &["max_message_size", "max_size", "max_frame_size", "max_payload", "websocket_config"],
    ),
    (
        "connection/builder/mod.rs",
        "fn send_buffer",
        &["max_write_buffer_size", "write_limit", "high_water_mark", "write_buffer_size"],
    ),
    ("connection/builder/mod.rs", "fn read_ahead", &["read_limit", "max_queue", "receive_buffer"]),
    ("connection/builder/mod.rs", "fn close_on_ctrl_c", &["sigterm", "sigint", "graceful"]),
    ("connection/builder/start.rs", "fn run", &["run_forever", "block_on"]),
    (
        "connection/builder/start.rs",
        "fn run_until",
        &["with_graceful_shutdown", "cancellation_token"],
    ),
    (
        "connection/builder/start.rs",
        "fn start",
        &["connect_async", "connect", "spawn", "create_connection", "dial"],
    ),
    (
        "connection/builder/request.rs",
        "fn header",
        &["user_agent", "add_header", "extra_headers", "custom_header", "api_key"],
    ),
    ("connection/builder/request.rs", "fn headers", &["default_headers", "additional_headers"]),
    (
        "connection/builder/request.rs",
        "fn url_with",
        &["uri", "query", "url", "token_refresh", "signed_url"],
    ),
    (
        "connection/builder/request.rs",
        "fn subprotocols",
        &["protocols", "sec_websocket_protocol", "with_sub_protocol", "sub_protocol"],
    ),
    (
        "connection/builder/request.rs",
        "fn basic_auth",
        &["http_proxy_auth", "credentials", "username", "password"],
    ),
    (
        "connection/builder/request.rs",
        "fn bearer_auth",
        &["authorization", "token", "jwt", "oauth"],
    ),
    ("connection/builder/request.rs", "fn cookie_jar", &["cookie_store", "cookie_provider"]),
    (
        "connection/builder/request.rs",
        "fn redirects",
        &["redirect_limit", "redirect", "follow_redirects"],
    ),
    ("tls/options.rs", "fn ca_pem", &["root_cert", "add_root_certificate", "root_certificate"]),
    ("tls/options.rs", "fn ca_file", &["ca_certs", "cafile", "ca_bundle"]),
    ("tls/options.rs", "fn client_cert_pem", &["identity", "from_pem", "mtls"]),
    (
        "tls/options.rs",
        "fn client_cert_file",
        &["certfile", "keyfile", "client_certificate", "pfx"],
    ),
    (
        "tls/options.rs",
        "fn dangerously_accept_any_certificate",
        &[
            "insecure",
            "danger_accept_invalid_certs",
            "danger_accept",
            "cert_none",
            "no_verify",
            "cert_reqs",
        ],
    ),
    (
        "tls/options.rs",
        "fn dangerously_accept_any_name",
        &["danger_accept_invalid_hostnames", "check_hostname"],
    ),
    ("tls/options.rs", "fn server_name", &["sni", "server_hostname"]),
    ("tls/options.rs", "fn key_log", &["sslkeylogfile"]),
    ("socket.rs", "fn nodelay", &["tcp_nodelay", "nagle"]),
    ("socket.rs", "fn keepalive", &["tcp_keepalive", "so_keepalive"]),
    (
        "command/send.rs",
        "struct Send",
        &["send_text", "send_str", "send_message", "write_message", "emit", "publish"],
    ),
    ("command/send.rs", "fn binary", &["send_bytes", "send_binary"]),
    ("command/send.rs", "fn json", &["send_json"]),
    ("command/send.rs", "fn fragments", &["create_frame", "continuation"]),
    ("command/batch.rs", "struct SendBatch", &["send_all", "send_many", "feed", "writev"]),
    (
        "command/mod.rs",
        "struct Close",
        &["shutdown", "disconnect", "abort", "terminate", "close_timeout"],
    ),
    ("command/mod.rs", "struct Ping", &["send_ping"]),
    ("command/mod.rs", "struct Pong", &["send_pong"]),
    ("command/mod.rs", "struct Reconnect", &["restart", "refresh"]),
    ("command/mod.rs", "struct Status", &["is_open", "ready_state", "is_connected", "health"]),
    ("command/mod.rs", "struct Subscribe", &["add_listener", "addEventListener"]),
    ("command/mod.rs", "struct Unsubscribe", &["remove_listener", "removeEventListener"]),
    ("command/handle.rs", "struct Handle", &["sender", "weak", "writer"]),
    ("command/handle.rs", "fn do_send", &["try_send", "send_nowait"]),
    ("command/watch.rs", "struct Watch", &["metrics", "stats", "gauges", "statistics"]),
    ("connection/builder/blocking.rs", "fn run_blocking", &["run_sync", "blocking"]),
    ("stream/builder.rs", "fn stream", &["split", "async_stream", "channel"]),
    ("stream/events.rs", "struct Events", &["stream", "receiver", "WebSocketStream"]),
    ("stream/sender.rs", "struct Sender", &["sink", "SplitSink"]),
    ("backoff/policy.rs", "fn exponential", &["jitter", "full_jitter", "exponential_backoff"]),
    ("backoff/policy.rs", "fn fixed", &["constant", "reconnect_interval", "interval"]),
    ("backoff/policy.rs", "fn never", &["no_retry"]),
    ("backoff/policy.rs", "trait Policy", &["Backoff"]),
    ("event.rs", "struct Batch", &["buffered"]),
    ("proto/message.rs", "fn as_text", &["to_text", "as_str"]),
    ("proto/message.rs", "fn into_bytes", &["into_data"]),
    ("proto/message.rs", "enum Payload", &["Message", "frame_data"]),
];

#[test]
fn each_alias_stands_at_its_item() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    for file in rust_files(&root) {
        let text = fs::read_to_string(&file).expect("a readable file");
        let name = file.strip_prefix(&root).expect("a path below the folder");
        for (item, aliases) in aliased(&text) {
            found.insert((name.to_string_lossy().into_owned(), item), aliases);
        }
    }
    let expected: BTreeMap<_, Vec<String>> = ALIASES
        .iter()
        .map(|(file, item, aliases)| {
            let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
            (((*file).to_owned(), (*item).to_owned()), aliases)
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn what_people_type_is_an_alias_or_a_name() {
    let typed = [
        "run_forever",
        "connect_async",
        "send_bytes",
        "heartbeat",
        "keep_alive",
        "keepalive",
        "shutdown",
        "graceful",
        "json",
        "is_open",
        "user_agent",
        "http_proxy",
        "ssl",
        "insecure",
        "danger_accept",
        "max_message_size",
        "max_size",
        "jitter",
        "uri",
        "query",
        "identity",
        "root_cert",
        "stream",
        "sink",
    ];
    let names = |(_, item, aliases): &(&str, &'static str, &'static [&'static str])| {
        aliases.iter().copied().chain(item.split(' ').skip(1)).collect::<Vec<_>>()
    };
    let names: Vec<_> = ALIASES.iter().flat_map(names).collect();
    let missing: Vec<_> = typed.into_iter().filter(|word| !names.contains(word)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn an_alias_is_found_at_the_item_behind_it() {
    let text = "
    /// Text.
    #[doc(alias(
        \"one\", \"two\"
    ))]
    #[must_use]
    pub async fn run(self) {}
    #[doc(alias = \"three\")]
    pub struct Three<T>(T);
    ";
    let own = |item: &str, aliases: &[&str]| {
        (item.to_owned(), aliases.iter().map(|&alias| alias.to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(aliased(text), [own("fn run", &["one", "two"]), own("struct Three", &["three"])]);
}

/// The items of a file that have aliases: kind and name.
fn aliased(text: &str) -> Vec<(String, Vec<String>)> {
    let mut parts = text.split("#[doc(alias");
    parts.next();
    parts
        .map(|part| {
            let (inside, behind) = part.split_once(")]").expect("the attribute ends");
            let aliases = inside.split('"').skip(1).step_by(2).map(str::to_owned).collect();
            let item = behind.split_once("pub ").expect("a public item follows").1;
            let item = item.strip_prefix("async ").unwrap_or(item);
            let (kind, name) = item.split_once(' ').expect("a kind and a name");
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            (format!("{kind} {}", &name[..end]), aliases)
        })
        .collect()
}

/// The Rust files below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        match path.is_dir() {
            true => files.extend(rust_files(&path)),
            false => files.extend(path.extension().is_some_and(|it| it == "rs").then_some(path)),
        }
    }
    files
}
