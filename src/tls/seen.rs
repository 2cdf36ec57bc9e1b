//! What the callbacks of rustls see in one handshake. A rustls configuration is shared by dials, and its errors name
//! no certificate.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::pin;
use std::task::Poll;

use rustls::pki_types::CertificateDer;

/// What happened in the handshake.
#[derive(Default)]
pub(super) struct Seen {
    /// The certificates that were refused, the peer's own first.
    pub(super) refused: Vec<CertificateDer<'static>>,
    /// Whether the peer requested a client certificate and there was none to send.
    pub(super) certificate_wanted: bool,
}

thread_local! {
    // rustls calls back within the poll of a handshake. So the value belongs to the handshake that is being polled on
    // this thread, and is empty between polls.
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// Runs a handshake, and returns what its callbacks recorded.
pub(super) async fn record<F: Future>(handshake: F) -> (F::Output, Seen) {
    let mut handshake = pin!(handshake);
    let mut seen = Seen::default();
    std::future::poll_fn(move |cx| {
        SEEN.with_borrow_mut(|current| mem::swap(current, &mut seen));
        let polled = handshake.as_mut().poll(cx);
        SEEN.with_borrow_mut(|current| mem::swap(current, &mut seen));
        match polled {
            Poll::Ready(output) => Poll::Ready((output, mem::take(&mut seen))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Records the certificates that the peer sent and that are refused.
#[cold]
pub(super) fn refused(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) {
    let chain = std::iter::once(end_entity).chain(intermediates);
    let chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
    SEEN.with_borrow_mut(|seen| seen.refused = chain);
}

/// Records that the peer requested a client certificate and there is none to send.
pub(super) fn certificate_wanted() {
    SEEN.with_borrow_mut(|seen| seen.certificate_wanted = true);
}
