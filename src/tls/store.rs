//! What is trusted where the application sets no authorities: those that the environment names, or the platform's store.
//! It is read once for the process, and again when a variable, a file or a directory has changed.

use std::ffi::OsString;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::Error as RustlsError;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;

use crate::error::ConfigError;
use crate::tls::authorities::{self, Authorities, Bundle};
use crate::tls::explain;
use crate::tls::shared::Shared;

/// Which servers are trusted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trusted {
    Authorities(Shared<Authorities>),
    /// Those that the platform's verifier accepts.
    Platform(Shared<dyn ServerCertVerifier>),
}

impl Trusted {
    /// Returns what they were read from, for error texts.
    pub(super) fn source(&self) -> &'static str {
        match self {
            Trusted::Authorities(authorities) => authorities.source(),
            Trusted::Platform(_) => "the system's store",
        }
    }
}

/// The store of the process.
pub(super) static STORE: Store = Store(Mutex::new(None));

/// A store that is read when it is first needed.
pub(super) struct Store(Mutex<Option<Read>>);

/// The store as it was read.
struct Read {
    places: Places,
    /// The state of each file and directory just before it was read.
    stamps: Vec<Option<Stamp>>,
    /// What the platform's verifier was made with.
    provider: Arc<CryptoProvider>,
    trusted: Trusted,
}

impl Store {
    /// Returns what is trusted. `variable` looks up an environment variable. Threads that ask while the store is read wait
    /// for it.
    ///
    /// # Errors
    /// `ConfigError::Authorities` if it cannot be read, or holds no certificate.
    pub(super) fn get(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Trusted, ConfigError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let places = Places::new(variable);
        let stamps = places.stamps();
        if let Some(last) = &*last
            && (&last.places, &last.stamps) == (&places, &stamps)
            && Arc::ptr_eq(&last.provider, provider)
        {
            return Ok(last.trusted.clone());
        }
        let trusted = places.read(provider.clone())?;
        let read = last.insert(Read { places, stamps, provider: provider.clone(), trusted });
        Ok(read.trusted.clone())
    }
}

/// Where the authorities are.
#[derive(PartialEq)]
enum Places {
    /// A file or a directory, which takes the place of all others.
    Bundle(PathBuf),
    /// The file of the one variable and the directories of the other.
    Named { file: Option<PathBuf>, dirs: Option<Vec<PathBuf>> },
    /// The files and directories of the platform's store, if it has any.
    Platform(Vec<PathBuf>),
}

const BUNDLE: &str = "WEBSOCKET_CLIENT_CA_BUNDLE";
const FILE: &str = "SSL_CERT_FILE";
const DIR: &str = "SSL_CERT_DIR";

impl Places {
    fn new(variable: impl Fn(&str) -> Option<OsString>) -> Places {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if let Some(path) = set(BUNDLE) {
            return Places::Bundle(path.into());
        }
        let dirs = |paths| {
            let named = std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty());
            named.collect()
        };
        match (set(FILE).map(PathBuf::from), set(DIR).map(dirs)) {
            (None, None) => Places::Platform(platform_places()),
            (file, dirs) => Places::Named { file, dirs },
        }
    }

    /// Returns the state of each file and directory; `None` for one that cannot be asked. A file of a directory that was
    /// changed in place, and not replaced, is not noticed.
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let stamp = |path: &PathBuf| path.metadata().ok().map(|about| Stamp::new(&about));
        match self {
            Places::Bundle(path) => vec![stamp(path)],
            Places::Named { file, dirs } => {
                file.iter().chain(dirs.iter().flatten()).map(stamp).collect()
            }
            Places::Platform(paths) => paths.iter().map(stamp).collect(),
        }
    }

    fn read(&self, provider: Arc<CryptoProvider>) -> Result<Trusted, ConfigError> {
        let mut bundle = Bundle::default();
        let source = match self {
            Places::Platform(_) => {
                let verifier = rustls_platform_verifier::Verifier::new(provider);
                let verifier = verifier.map_err(|err| no_store(&err))?;
                return Ok(Trusted::Platform(Shared::new(Arc::new(verifier))));
            }
            Places::Bundle(path) => {
                add(&mut bundle, path).map_err(unusable(BUNDLE))?;
                BUNDLE
            }
            Places::Named { file, dirs } => {
                if let Some(file) = file {
                    bundle.add_file(file).map_err(unusable(FILE))?;
                }
                for dir in dirs.iter().flatten() {
                    bundle.add_dir(dir).map_err(unusable(DIR))?;
                }
                if file.is_some() { FILE } else { DIR }
            }
        };
        let authorities = bundle.authorities(source).map_err(unusable(source))?;
        Ok(Trusted::Authorities(authorities::shared(authorities)))
    }
}

fn add(bundle: &mut Bundle, path: &Path) -> Result<(), String> {
    if path.is_dir() { bundle.add_dir(path) } else { bundle.add_file(path) }
}

fn unusable(option: &'static str) -> impl Fn(String) -> ConfigError {
    move |reason| ConfigError::Authorities { option, reason }
}

/// Returns the files and directories that the platform's verifier reads.
#[cfg(all(unix, not(target_os = "android"), not(target_vendor = "apple")))]
fn platform_places() -> Vec<PathBuf> {
    let found = openssl_probe::probe();
    found.cert_file.into_iter().chain(found.cert_dir).collect()
}

/// The platform is asked about each certificate; there is nothing to read.
#[cfg(not(all(unix, not(target_os = "android"), not(target_vendor = "apple"))))]
fn platform_places() -> Vec<PathBuf> {
    Vec::new()
}

/// What changes with a file or a directory.
#[derive(PartialEq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    /// The number of the file, and when it was changed or replaced.
    #[cfg(unix)]
    inode: (u64, i64, i64),
}

impl Stamp {
    fn new(about: &Metadata) -> Stamp {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Stamp {
            modified: about.modified().ok(),
            len: about.len(),
            #[cfg(unix)]
            inode: (about.ino(), about.ctime(), about.ctime_nsec()),
        }
    }
}

/// Returns the error for a platform's store that cannot be used.
fn no_store(err: &RustlsError) -> ConfigError {
    let words = match err {
        // All that it reports on systems whose store is files.
        RustlsError::General(_) => "the system's store holds no certificate authority".to_owned(),
        other => format!("the system's store cannot be read: {}", explain::words(other)),
    };
    let cure = "install the system's certificates (often the package ca-certificates), name a file with \
        `Tls::ca_file`, `--cacert` or the variable SSL_CERT_FILE, or use `Tls::webpki_roots` of the feature \
        `webpki-roots`";
    unusable("ca")(format!("{words}: {cure}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tls::provider;

    /// A directory that is removed when it is dropped.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn certificate() -> String {
        rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap().cert.pem()
    }

    fn get(store: &Store, variables: &[(&str, &Path)]) -> Result<Trusted, ConfigError> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(set, _)| *set == name);
            found.map(|(_, path)| path.as_os_str().to_owned())
        };
        store.get(variable, &provider::provider().unwrap())
    }

    #[test]
    fn a_store_is_read_again_only_when_it_has_changed() {
        let scratch = Scratch::new("store-changes");
        let file = scratch.write("file", &certificate());
        let dir = scratch.0.join("dir");
        fs::create_dir_all(&dir).unwrap();
        scratch.write("dir/1", &certificate());
        let store = Store(Mutex::new(None));
        let named: &[(&str, &Path)] = &[(FILE, &file), (DIR, &dir)];
        let first = get(&store, named).unwrap();
        assert!(first == get(&store, named).unwrap());
        // A file that is replaced, a new file in a directory, another variable.
        let next = scratch.write("next", &certificate());
        fs::rename(next, &file).unwrap();
        let second = get(&store, named).unwrap();
        assert!(first != second && second == get(&store, named).unwrap());
        scratch.write("dir/2", &certificate());
        let third = get(&store, named).unwrap();
        assert!(second != third && third == get(&store, named).unwrap());
        let fourth = get(&store, &[(FILE, &file)]).unwrap();
        assert!(third != fourth);
        // The same file under another variable, which error texts name.
        assert!(fourth != get(&store, &[(BUNDLE, &file)]).unwrap());
        assert!(fourth != get(&store, &[(BUNDLE, &dir)]).unwrap());
    }

    #[test]
    fn a_store_that_cannot_be_read_is_tried_again() {
        let scratch = Scratch::new("store-missing");
        let file = scratch.0.join("file");
        let store = Store(Mutex::new(None));
        let named: &[(&str, &Path)] = &[(FILE, &file)];
        for _ in 0..2 {
            let err = get(&store, named).unwrap_err();
            assert!(matches!(err, ConfigError::Authorities { option: FILE, .. }), "{err}");
        }
        scratch.write("file", &certificate());
        assert!(get(&store, named).is_ok());
    }

    #[test]
    fn an_empty_store_names_every_way_to_have_one() {
        // The text of rustls-platform-verifier for a system without certificates.
        let empty = RustlsError::General("No CA certificates were loaded from the system".into());
        let text = no_store(&empty).to_string();
        assert!(text.starts_with("ca: the system's store holds no certificate"), "{text}");
        for way in ["--cacert", "SSL_CERT_FILE", "`webpki-roots`", "`Tls::ca_file`"] {
            assert!(text.contains(way), "{way}: {text}");
        }
    }
}
