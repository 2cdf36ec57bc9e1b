//! A JSON-RPC server by another hand, that of jsonrpsee, which is stopped once and comes back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{io, sync::Arc};

use jsonrpsee_server::types::ErrorObjectOwned;
use jsonrpsee_server::{RpcModule, Server, ServerHandle};
use tokio::sync::Notify;

/// Starts a server that knows the method `add`, of two numbers whose sum is one too. After 1,000 calls it ends all
/// sockets, and starts anew. Returns its URL.
pub(crate) async fn start() -> io::Result<String> {
    let enough = Arc::new(Notify::new());
    let (addr, server) = listen(([127, 0, 0, 1], 0).into(), enough.clone()).await?;
    tokio::spawn(async move {
        enough.notified().await;
        // An error means that it has stopped already.
        let _ = server.stop();
        server.stopped().await;
        let (_, server) = listen(addr, enough).await.expect("the port is free again");
        server.stopped().await;
    });
    Ok(format!("ws://{addr}"))
}

/// Listens at an address. Notifies after 1,000 calls.
async fn listen(addr: SocketAddr, enough: Arc<Notify>) -> io::Result<(SocketAddr, ServerHandle)> {
    let (mut module, calls) = (RpcModule::new(()), AtomicU64::new(1));
    let add = move |params: jsonrpsee_server::types::Params<'_>| {
        let (a, b) = params.parse::<(u64, u64)>()?;
        if calls.fetch_add(1, Relaxed) == 1_000 {
            enough.notify_one();
        }
        let overflow = || ErrorObjectOwned::owned(1, "the sum is too large", None::<()>);
        a.checked_add(b).ok_or_else(overflow)
    };
    module.register_method("add", move |params, _, _| add(params)).map_err(io::Error::other)?;
    let server = Server::builder().build(addr).await?;
    Ok((server.local_addr()?, server.start(module)))
}
