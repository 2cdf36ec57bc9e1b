//! The flags of `--serve`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::str::FromStr;

use crate::feed::serve::token::Token;
use crate::usage::Usage;

#[derive(clap::Args)]
pub(crate) struct ServeFlags {
    /// Serve the state of the feed over HTTP: /health, /status, /metrics, and a page to watch at /;
    /// an address that is not of this machine alone needs --serve-token-file
    #[arg(long, value_name = "ADDR:PORT")]
    serve: Option<Addr>,

    /// Serve only requests with the bearer token in this file; the page asks for it
    #[arg(long, value_name = "FILE", requires = "serve")]
    serve_token_file: Option<PathBuf>,
}

/// A socket to serve on, and the token that requests need.
pub(crate) struct Prepared {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<Token>,
}

impl ServeFlags {
    /// Checks the flags, and reads the token. Returns `None` without `--serve`.
    pub(crate) fn prepare(&self) -> Result<Option<Prepared>, Usage> {
        let Some(Addr(address)) = self.serve else { return Ok(None) };
        let token = self.serve_token_file.as_ref().map(|path| {
            Token::read(path)
                .map_err(|why| Usage(format!("--serve-token-file: {}: {why}", path.display())))
        });
        let token = token.transpose()?;
        if token.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(Usage(format!(
                "--serve: {} can be reached from other machines: set --serve-token-file, or serve on 127.0.0.1",
                address.ip()
            )));
        }
        Ok(Some(Prepared { address, token }))
    }
}

impl Prepared {
    /// Listens.
    pub(crate) fn listen(&self) -> Result<TcpListener, Usage> {
        let listener = TcpListener::bind(self.address).and_then(|listener| {
            bound(&listener)?;
            Ok(listener)
        });
        listener.map_err(|err| Usage(format!("--serve: cannot listen on {}: {err}", self.address)))
    }
}

/// Bounds how long a client may read nothing, and what the system keeps for it, where the system can do that. The
/// connections of a listener have its options.
fn bound(listener: &TcpListener) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::net::sockopt::set_tcp_user_timeout(listener, READ_WITHIN_MS)?;
        rustix::net::sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
    Ok(())
}

/// How long a client may read nothing of what it was sent, until its connection is closed.
#[cfg(target_os = "linux")]
const READ_WITHIN_MS: u32 = 30_000;

/// The bytes that the system keeps for a client that reads slowly.
#[cfg(target_os = "linux")]
const SEND_BUFFER: usize = 256 << 10;

/// An address with a port. `localhost` is 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Addr(SocketAddr);

impl FromStr for Addr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Addr, &'static str> {
        let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        let local = local.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        let addr = local.or_else(|| text.parse().ok());
        addr.map(Addr).ok_or("expected an IP address and a port, such as 127.0.0.1:9300")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(address: &str) -> Result<bool, String> {
        let serve = Some(address.parse().unwrap());
        let flags = ServeFlags { serve, serve_token_file: None };
        flags.prepare().map(|it| it.is_some()).map_err(|Usage(words)| words)
    }

    #[test]
    fn without_a_token_only_this_machine_is_served() {
        for address in
            ["127.0.0.1:0", "localhost:9300", "[::1]:9300", "127.8.8.8:1", "[::ffff:127.0.0.1]:1"]
        {
            assert_eq!(prepare(address), Ok(true), "{address}");
        }
        for address in ["0.0.0.0:9300", "[::]:9300", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
            assert!(prepare(address).unwrap_err().contains("--serve-token-file"), "{address}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_connection_ends_if_its_client_does_not_read() {
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Prepared { address, token: None }.listen().ok().unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (connection, _) = listener.accept().unwrap();
        let timeout = rustix::net::sockopt::tcp_user_timeout(&connection).unwrap();
        assert_eq!(timeout, READ_WITHIN_MS);
        // The kernel doubles it.
        let buffer = rustix::net::sockopt::socket_send_buffer_size(&connection).unwrap();
        assert!(buffer <= 2 * SEND_BUFFER, "{buffer}");
    }

    #[test]
    fn an_address_has_a_port() {
        for wrong in ["", "9300", "127.0.0.1", "localhost", "example.com:80", "127.0.0.1:99999"] {
            assert!(wrong.parse::<Addr>().is_err(), "{wrong}");
        }
    }
}
