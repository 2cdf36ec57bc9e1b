//! The server's side of TLS, for [`testing::Server`](crate::testing::Server).

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::authorities::Authorities;
use crate::tls::provider;

/// How a [`testing::Server`](crate::testing::Server) speaks TLS: its certificate, and whether a
/// client needs one.
///
/// Tests usually make a self-signed certificate, here by the crate rcgen, and let the client trust
/// that alone:
///
/// ```
/// use actix_ws_client::testing::{Script, Server, ServerTls};
/// use actix_ws_client::{Connection, Tls};
///
/// # actix::System::new().block_on(async {
/// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
/// let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
/// let tls = ServerTls::from_pem(chain.as_bytes(), key.as_bytes());
/// let server = Server::start_tls(Script::accept().send_close(1000, "bye"), tls);
///
/// let trusting = Tls::new().ca_pem(chain.as_bytes()).unwrap();
/// let run = Connection::builder(server.url()).tls(trusting).no_reconnect().run();
/// assert_eq!(run.await.unwrap().epochs, 1);
/// assert_eq!(server.tls_handshakes()[0].server_name.as_deref(), Some("localhost"));
/// # });
/// ```
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl ServerTls {
    /// Creates a server that sends this certificate chain and asks clients for none. Both texts are
    /// PEM; the key is PKCS#8, SEC1 or PKCS#1, and not encrypted. TLS 1.2 and 1.3, no ALPN.
    ///
    /// # Panics
    /// If the chain or the key cannot be read, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> ServerTls {
        ServerTls::with_verifier(chain, key, Arc::new(NoClientAuth))
    }

    /// Like [`from_pem`](ServerTls::from_pem), but refuses a client that has no certificate by one
    /// of these authorities. A self-signed client certificate is its own authority.
    ///
    /// # Panics
    /// As `from_pem`, and if `authorities` holds no certificate or one that cannot be read.
    pub fn from_pem_with_client_ca(chain: &[u8], key: &[u8], authorities: &[u8]) -> ServerTls {
        let mut clients = Authorities::new();
        clients.add(authorities).expect("the client authorities can be read");
        let provider = provider::provider().expect("a cryptography provider");
        let verifier = WebPkiClientVerifier::builder_with_provider(clients.roots(), provider);
        let verifier = verifier.build().expect("there is a client authority");
        ServerTls::with_verifier(chain, key, verifier)
    }

    /// Uses a configuration of rustls 0.23 as it is: for a version, ALPN, or a client certificate
    /// that is optional.
    pub fn from_config(config: impl Into<Arc<ServerConfig>>) -> ServerTls {
        ServerTls(config.into())
    }

    fn with_verifier(chain: &[u8], key: &[u8], verifier: Arc<dyn ClientCertVerifier>) -> ServerTls {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.expect("the certificate chain can be read");
        let key = PrivateKeyDer::from_pem_slice(key).expect("the key can be read");
        let provider = provider::provider().expect("a cryptography provider");
        // `builder()` would panic where two providers are compiled in and none was chosen.
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .expect("the key belongs to the certificate");
        ServerTls(Arc::new(config))
    }

    /// Returns the rustls configuration, for servers of other crates.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.0
    }

    /// Completes a TLS handshake over any stream, for a server that is not
    /// [`testing::Server`](crate::testing::Server).
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn accept<S>(
        &self,
        stream: S,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + use<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake(stream).await.map_err(|(err, _)| err)
    }

    /// Like [`accept`](ServerTls::accept); a failure returns the stream too.
    pub(crate) async fn handshake<S>(&self, stream: S) -> Result<TlsStream<S>, (io::Error, S)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.0.clone()).accept(stream).into_fallible().await
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// What a server saw of its client in a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsHandshake {
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The host name that the client sent by SNI (RFC 6066, 3). A client that dials an IP address
    /// sends none.
    pub server_name: Option<String>,
    /// The protocol that ALPN chose (RFC 7301), if any.
    pub alpn: Option<Vec<u8>>,
    /// The client's certificate chain as DER, its own certificate first; empty if it sent none.
    pub client_chain: Vec<Vec<u8>>,
}

impl TlsHandshake {
    pub(crate) fn of<S>(stream: &TlsStream<S>) -> TlsHandshake {
        let (_, session) = stream.get_ref();
        let chain = session.peer_certificates().unwrap_or_default();
        TlsHandshake {
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            server_name: session.server_name().map(str::to_owned),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            client_chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
        }
    }
}
