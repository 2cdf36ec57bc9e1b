//! The transport to the first host on the way: the proxy, or the server where there is none.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::dial::clock::Clock;
use crate::dial::link::BaseTransport;
use crate::dial::{closure, race, resolve, socket};
use crate::error::{ConnectError, Error, Stage};
use crate::options::Plan;

/// Connects to a host, by TCP or by the application's own transport. Returns the address of the peer too, where it is
/// TCP.
///
/// # Errors
/// `Dns`, `Connect` with every address that was tried, `Io` of the application's transport, or `Handler` when one of the
/// application's closures failed.
pub(super) async fn connect(
    plan: &Plan,
    host: &str,
    port: u16,
    clock: &Clock,
) -> Result<(BaseTransport, Option<SocketAddr>), Error> {
    if let Some(factory) = &plan.options.transport {
        clock.set(Stage::Connect);
        let transport = closure::run(|| factory.make(host, port)).await?;
        return transport
            .map(|transport| (BaseTransport::Custom(transport), None))
            .map_err(|err| wrapped_error(&err).unwrap_or_else(|| Error::Io(err.into())));
    }
    // Boxed, because the futures of a direct dial and of each kind of proxy contain this one.
    let (tcp, addr) = Box::pin(connect_tcp(plan, host, port, clock)).await?;
    // A socket connected to 0.0.0.0 or [::] has reached some address of this host; the system knows which.
    let known = Some(addr).filter(|addr| !addr.ip().to_canonical().is_unspecified());
    let peer = known.or_else(|| tcp.peer_addr().ok());
    Ok((BaseTransport::Tcp(tcp), peer))
}

async fn connect_tcp(
    plan: &Plan,
    host: &str,
    port: u16,
    clock: &Clock,
) -> Result<(TcpStream, SocketAddr), Error> {
    let addrs = resolve::resolve(host, port).await?;
    clock.set(Stage::Connect);
    let (sockets, write_timeout) = (plan.options.sockets.get(), plan.options.write_timeout);
    let connect = async |addr| Ok((socket::connect(addr, &sockets, write_timeout).await?, addr));
    race::race(addrs, connect).await.map_err(|tried| {
        let own = tried.iter().find_map(|(_, err)| wrapped_error(err));
        own.unwrap_or_else(|| Error::Connect(ConnectError { tried: tried.into() }))
    })
}

/// Returns the error of ours that an `io::Error` carries: a closure of the application's can fail where only an
/// `io::Error` can be returned.
fn wrapped_error(err: &io::Error) -> Option<Error> {
    err.get_ref()?.downcast_ref::<Error>().cloned()
}
