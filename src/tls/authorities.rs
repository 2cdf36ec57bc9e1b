//! Certificate authorities: from text, files, directories and the environment.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::ConfigError;

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

/// Adds every certificate of a text that the application has chosen. All have to be valid.
///
/// # Errors
/// A text, also when there is no certificate.
pub(super) fn add_pem(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|err| err.to_string())?;
        roots.add(certificate).map_err(|err| err.to_string())?;
    }
    require_new(roots, before)
}

/// Adds every certificate in the files of a directory.
///
/// # Errors
/// A text that names the directory, also when there is no certificate.
pub(super) fn add_dir(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let before = roots.len();
    let mut bundle = Bundle::default();
    bundle.add_dir(path)?;
    bundle.add_to(roots);
    require_new(roots, before).map_err(|err| format!("{}: {err}", path.display()))
}

fn require_new(roots: &RootCertStore, before: usize) -> Result<(), String> {
    if roots.len() == before { Err("no certificate found".to_owned()) } else { Ok(()) }
}

/// Reads the authorities that the environment names, if it names any.
///
/// # Errors
/// The name of the variable whose file or directories cannot be read or hold no certificate.
pub(super) fn from_env(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<RootCertStore>, ConfigError> {
    const BUNDLE: &str = "WEBSOCKET_CLIENT_CA_BUNDLE";
    const FILE: &str = "SSL_CERT_FILE";
    const DIR: &str = "SSL_CERT_DIR";
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let mut bundle = Bundle::default();
    let mut source = None;
    let named = |name| move |reason| ConfigError::option(name, reason);
    if let Some(path) = set(BUNDLE) {
        let path = Path::new(&path);
        let added = if path.is_dir() { bundle.add_dir(path) } else { bundle.add_file(path) };
        added.map_err(named(BUNDLE))?;
        source = Some(BUNDLE);
    } else {
        if let Some(path) = set(FILE) {
            bundle.add_file(Path::new(&path)).map_err(named(FILE))?;
            source = Some(FILE);
        }
        if let Some(paths) = set(DIR) {
            for path in std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()) {
                bundle.add_dir(&path).map_err(named(DIR))?;
            }
            source = source.or(Some(DIR));
        }
    }
    let Some(source) = source else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    bundle.add_to(&mut roots);
    require_new(&roots, 0).map_err(named(source))?;
    Ok(Some(roots))
}

/// The certificates of a store that the application does not maintain: what cannot be read is skipped. A set, because
/// directories list most of them under two names.
#[derive(Default)]
struct Bundle {
    certificates: HashSet<CertificateDer<'static>>,
    /// Files and certificates that could not be read.
    skipped: usize,
}

impl Bundle {
    fn add_pem(&mut self, pem: &[u8]) {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            match certificate {
                Ok(certificate) => {
                    self.certificates.insert(certificate);
                }
                Err(_) => self.skipped += 1,
            }
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), String> {
        self.add_pem(&read(path)?);
        Ok(())
    }

    fn add_dir(&mut self, path: &Path) -> Result<(), String> {
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
                    self.add_pem(&pem);
                }
                Err(err) if err.kind() == io::ErrorKind::FileTooLarge => return Err(in_path(err)),
                Err(_) => self.skipped += 1,
            }
        }
        Ok(())
    }

    fn add_to(self, roots: &mut RootCertStore) {
        let (_, unreadable) = roots.add_parsable_certificates(self.certificates);
        let skipped = self.skipped + unreadable;
        if skipped > 0 {
            tracing::debug!(skipped, "some certificates of the store could not be read");
        }
    }
}
