//! Mozilla's certificate authorities, compiled in.

use crate::tls::authorities;
use crate::tls::options::Tls;

impl Tls {
    /// Trusts Mozilla's certificate authorities, compiled in by the crate `webpki-roots`, instead of the
    /// platform's store: for containers without one. They are as old as the build. Those of
    /// [`ca_pem`](Tls::ca_pem), [`ca_file`](Tls::ca_file) and [`ca_dir`](Tls::ca_dir) are trusted too.
    pub fn webpki_roots(mut self) -> Tls {
        let mut authorities = self.authorities_to_change();
        authorities.add_anchors(webpki_roots::TLS_SERVER_ROOTS);
        self.authorities = Some(authorities::shared(authorities));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stand_in_for_the_platforms_store() {
        let tls = Tls::new().webpki_roots();
        assert!(tls.authorities.as_ref().is_some_and(|roots| roots.len() > 50));
        tls.client(|name| panic!("{name} was looked at")).unwrap();
    }
}
