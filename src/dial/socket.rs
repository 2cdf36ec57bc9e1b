//! A TCP connection with the application's socket options, from the local address that it chose.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use crate::socket::Sockets;

/// Connects to one address.
///
/// # Errors
/// Those of the system; and when the local address is of another family than `addr`.
pub(super) async fn connect(
    addr: SocketAddr,
    sockets: &Sockets,
    write_timeout: Duration,
) -> io::Result<TcpStream> {
    open(addr, sockets, write_timeout)?.connect(addr).await
}

/// Creates a socket for `addr`, with its options and bound to its address.
fn open(addr: SocketAddr, sockets: &Sockets, write_timeout: Duration) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    sockets.options.apply((&socket).into(), write_timeout)?;
    if let Some(ip) = sockets.bind {
        if ip.is_ipv6() != addr.is_ipv6() {
            return Err(io::Error::other(format!(
                "not of the address family of `bind_address`, {ip}"
            )));
        }
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;
    use crate::error::Error;
    use crate::socket::SocketOptions;

    async fn connected(sockets: Sockets) -> io::Result<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        connect(listener.local_addr().unwrap(), &sockets, Duration::from_secs(10)).await
    }

    fn having(options: SocketOptions) -> Sockets {
        Sockets { options, bind: None }
    }

    #[tokio::test]
    async fn a_connection_has_its_options() {
        let stream = connected(Sockets::default()).await.unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn options_are_those_that_were_chosen() {
        let seconds = Duration::from_secs;
        let options = SocketOptions::new().nodelay(false).keepalive(seconds(77));
        let options = options.keepalive_interval(seconds(7)).keepalive_probes(5);
        let options = options.receive_buffer(20_000).send_buffer(30_000);
        let options = options.user_timeout(seconds(9)).with(|socket| socket.set_ttl_v4(42));
        let stream = connected(having(options)).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(!stream.nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(77));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(7));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
        assert!((20_000..=40_000).contains(&socket.recv_buffer_size().unwrap()));
        assert!((30_000..=60_000).contains(&socket.send_buffer_size().unwrap()));
        assert_eq!(socket.ttl_v4().unwrap(), 42);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(9)));
        let off = SocketOptions::new().keepalive(None).user_timeout(None);
        let off = connected(having(off)).await.unwrap();
        assert!(!SockRef::from(&off).keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(SockRef::from(&off).tcp_user_timeout().unwrap(), None);
    }

    /// `TCP_USER_TIMEOUT` would end a write earlier.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_user_timeout_follows_the_write_timeout() {
        let seconds = Duration::from_secs;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        for (write_timeout, expected) in [
            (seconds(10), seconds(60)),
            (seconds(50), seconds(60)),
            (seconds(90), seconds(100)),
            (Duration::MAX, Duration::from_millis(i32::MAX as u64)),
        ] {
            let stream = connect(addr, &Sockets::default(), write_timeout).await.unwrap();
            let timeout = SockRef::from(&stream).tcp_user_timeout().unwrap();
            assert_eq!(timeout, Some(expected), "{write_timeout:?}");
        }
        let own = having(SocketOptions::new().user_timeout(seconds(5)));
        let stream = connect(addr, &own, seconds(10)).await.unwrap();
        assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(seconds(5)));
    }

    #[tokio::test]
    async fn what_the_closure_fails_with_is_the_failure() {
        let failing = SocketOptions::new().with(|_| Err(io::ErrorKind::AddrInUse.into()));
        let err = connected(having(failing)).await.unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::AddrInUse);
        let panicking = SocketOptions::new().with(|_| panic!("for the test"));
        let err = connected(having(panicking)).await.unwrap_err();
        let inner = err.get_ref().and_then(|err| err.downcast_ref::<Error>());
        assert!(matches!(inner, Some(Error::Handler(_))), "{err:?}");
    }

    #[tokio::test]
    async fn a_connection_comes_from_the_address_that_was_chosen() {
        let from = |ip| connected(Sockets { bind: Some(ip), ..Sockets::default() });
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
        assert_eq!(from(other).await.unwrap().local_addr().unwrap().ip(), other);
        let err = from(Ipv6Addr::LOCALHOST.into()).await.unwrap_err();
        assert!(err.to_string().contains("family"), "{err}");
    }
}
