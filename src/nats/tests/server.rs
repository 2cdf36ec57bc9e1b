//! A nats-server on loopback, with JetStream.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A nats-server that ends with this value, and its folder with it.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    port: u16,
    scheme: &'static str,
}

impl Server {
    /// Starts a server without anything that clients must have.
    pub(crate) fn start() -> Server {
        Server::with("", "nats")
    }

    /// Starts a server with lines of its configuration.
    pub(crate) fn with(config: &str, scheme: &'static str) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("nats-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        // Free until the server takes it: nothing else listens on ports that it did not ask for.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let store = folder.display();
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{store}\" }}\n{config}\n"
        );
        fs::write(folder.join("nats.conf"), text).unwrap();
        let child = Server::spawn(&folder, port);
        Server { child, folder, port, scheme }
    }

    /// Starts a server with a certificate for 127.0.0.1. Returns the file with its authority too.
    pub(crate) fn with_tls() -> (Server, PathBuf) {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("nats-{}-tls", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        fs::write(&cert, certified.cert.pem()).unwrap();
        fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        let config =
            format!("tls {{ cert_file: \"{}\", key_file: \"{}\" }}", cert.display(), key.display());
        (Server::with(&config, "tls"), cert)
    }

    fn spawn(folder: &Path, port: u16) -> Child {
        let program = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
        let mut command = Command::new(&program);
        let log = fs::File::create(folder.join("nats.log")).unwrap();
        command.arg("-c").arg(folder.join("nats.conf")).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|err| panic!("{program}: {err}"));
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "{program} does not listen: see {}", folder.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    /// Ends it as a loss of power would.
    pub(crate) fn kill(&mut self) {
        // SIGKILL on Unix.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with what it has stored, after [`kill`](Server::kill).
    pub(crate) fn restart(&mut self) {
        self.child = Server::spawn(&self.folder, self.port);
    }

    /// Its URL, with what stands before the host.
    pub(crate) fn url_of(&self, user: &str) -> String {
        format!("{}://{user}127.0.0.1:{}", self.scheme, self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
