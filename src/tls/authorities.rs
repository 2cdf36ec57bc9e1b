//! Certificate authorities: from text, files, directories and the environment.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
#[cfg(feature = "webpki-roots")]
use rustls::pki_types::TrustAnchor;

use crate::tls::certificate::Certificate;
use crate::tls::pem;
use crate::tls::shared::{Newest, Shared};

/// The most bytes of a file, or of all files of a directory. A system's bundle has about 200 KiB.
const MAX_BYTES: u64 = 16 << 20;

/// The most entries of a directory.
const MAX_ENTRIES: usize = 4096;

/// Reads a whole file of at most 16 MiB.
///
/// # Errors
/// A text that names the file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_up_to(path, MAX_BYTES).map_err(|err| format!("{}: {err}", path.display()))
}

fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
    }
    Ok(bytes)
}

/// Certificate authorities, and the certificates that they were read from: a server may send exactly one of these.
#[derive(Clone, Debug)]
pub(super) struct Authorities {
    roots: Arc<RootCertStore>,
    certificates: HashSet<CertificateDer<'static>>,
    /// The number of authorities that are no certificates: those that are compiled in.
    anchors: usize,
    /// What they were read from, for error texts.
    source: &'static str,
}

impl Authorities {
    pub(super) fn new() -> Authorities {
        Authorities {
            roots: Arc::new(RootCertStore::empty()),
            certificates: HashSet::new(),
            anchors: 0,
            source: "the authorities that were set",
        }
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.roots.len()
    }

    pub(super) fn source(&self) -> &'static str {
        self.source
    }

    /// Whether the other ones were made of the same certificates, in any order.
    fn is_same(&self, other: &Authorities) -> bool {
        (self.source, self.anchors) == (other.source, other.anchors)
            && self.certificates == other.certificates
    }

    /// Whether this certificate is one of them.
    pub(super) fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.contains(certificate)
    }

    /// Adds authorities that are no certificates.
    #[cfg(feature = "webpki-roots")]
    pub(super) fn add_anchors(&mut self, anchors: &[TrustAnchor<'static>]) {
        Arc::make_mut(&mut self.roots).extend(anchors.iter().cloned());
        self.anchors += anchors.len();
    }

    /// Adds every certificate of a file that the application has chosen. All have to be valid.
    ///
    /// # Errors
    /// A text, also when there is no certificate.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        let roots = Arc::make_mut(&mut self.roots);
        for (index, certificate) in pem::certificates(bytes)?.into_iter().enumerate() {
            let certificate = certificate?;
            roots.add(certificate.clone()).map_err(|_| {
                let read = Certificate::read(&certificate);
                let title = read.as_ref().map_or("without a name", Certificate::title);
                format!(
                    "certificate {}, {title}, cannot be an authority: it breaks RFC 5280",
                    index + 1
                )
            })?;
            self.certificates.insert(certificate);
        }
        Ok(())
    }

    /// Adds every certificate in the files of a directory.
    ///
    /// # Errors
    /// A text that names the directory, also when there is no certificate.
    pub(super) fn add_dir(&mut self, path: &Path) -> Result<(), String> {
        let mut bundle = Bundle::default();
        bundle.add_dir(path)?;
        bundle.add_to(self)
    }
}

/// The authorities of the process.
static KNOWN: Newest<Authorities> = Newest::new();

/// Returns the authorities in shared memory, if another connection has the same.
pub(super) fn shared(authorities: Authorities) -> Shared<Authorities> {
    KNOWN.get_or_share(authorities, Authorities::is_same)
}

/// The certificates of a store that the application does not maintain: what cannot be read is skipped. A set, because
/// directories list most of them under two names.
#[derive(Default)]
pub(super) struct Bundle {
    certificates: HashSet<CertificateDer<'static>>,
    /// Files and certificates that could not be read.
    skipped: usize,
    /// Why the last place that was read gave no certificate.
    reason: Option<String>,
}

impl Bundle {
    fn add_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        for certificate in pem::certificates(bytes)? {
            match certificate {
                Ok(certificate) => {
                    self.certificates.insert(certificate);
                }
                Err(_) => self.skipped += 1,
            }
        }
        Ok(())
    }

    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let added = self.add_bytes(&read(path)?);
        self.reason = added.err().map(|reason| format!("{}: {reason}", path.display()));
        Ok(())
    }

    pub(super) fn add_dir(&mut self, path: &Path) -> Result<(), String> {
        let in_path = |err: io::Error| format!("{}: {err}", path.display());
        let mut left = MAX_BYTES;
        for (count, entry) in std::fs::read_dir(path).map_err(in_path)?.enumerate() {
            if count == MAX_ENTRIES {
                return Err(format!("{}: more than {MAX_ENTRIES} entries", path.display()));
            }
            let path = entry.map_err(in_path)?.path();
            // Links are followed. To read a pipe would block.
            if !path.metadata().is_ok_and(|about| about.is_file()) {
                continue;
            }
            match read_up_to(&path, left) {
                Ok(pem) => {
                    left -= pem.len() as u64;
                    // A directory may hold other files too.
                    let _ = self.add_bytes(&pem);
                }
                Err(err) if err.kind() == io::ErrorKind::FileTooLarge => return Err(in_path(err)),
                Err(_) => self.skipped += 1,
            }
        }
        self.reason = Some(format!("{}: no certificate found in its files", path.display()));
        Ok(())
    }

    /// Returns authorities of these certificates alone.
    ///
    /// # Errors
    /// As [`add_to`](Bundle::add_to).
    pub(super) fn authorities(self, source: &'static str) -> Result<Authorities, String> {
        let mut authorities = Authorities { source, ..Authorities::new() };
        self.add_to(&mut authorities)?;
        Ok(authorities)
    }

    /// # Errors
    /// A text, if there is no certificate that can be used.
    fn add_to(self, authorities: &mut Authorities) -> Result<(), String> {
        let roots = Arc::make_mut(&mut authorities.roots);
        let certificates = self.certificates.iter().cloned();
        let (added, unreadable) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(self
                .reason
                .unwrap_or_else(|| "no certificate found that is whole".to_owned()));
        }
        authorities.certificates.extend(self.certificates);
        let skipped = self.skipped + unreadable;
        if skipped > 0 {
            tracing::debug!(skipped, "some certificates of the store could not be read");
        }
        Ok(())
    }
}
