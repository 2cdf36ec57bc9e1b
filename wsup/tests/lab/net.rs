//! Two hosts with a cable between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run;

pub(crate) const CLIENT: &str = "c";
pub(crate) const SERVER: &str = "s";
pub(crate) const SERVER_ADDRESS: &str = "10.77.0.2";

/// Two network namespaces. They go with it.
pub(crate) struct Pair {
    name: String,
}

impl Pair {
    pub(crate) fn new(name: &str) -> Pair {
        let pair = Pair { name: format!("awc{name}{}", std::process::id()) };
        let (client, server) = (pair.host(CLIENT), pair.host(SERVER));
        run("ip", &["netns", "add", &client]);
        run("ip", &["netns", "add", &server]);
        let ends = ["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns"];
        run("ip", &[["-n", client.as_str()].as_slice(), &ends, &[server.as_str()]].concat());
        for (host, address) in [(&client, "10.77.0.1/24"), (&server, "10.77.0.2/24")] {
            run("ip", &["-n", host, "addr", "add", address, "dev", "cable"]);
            run("ip", &["-n", host, "link", "set", "cable", "up"]);
            run("ip", &["-n", host, "link", "set", "lo", "up"]);
        }
        pair
    }

    fn host(&self, end: &str) -> String {
        format!("{}{end}", self.name)
    }

    /// A program on one of the two hosts.
    pub(crate) fn command(&self, end: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(end), program]);
        command
    }

    /// Has the client look names up at the server's address, and gives it these lines of a hosts file.
    pub(crate) fn look_up_at_server(&self, hosts: &str) {
        let place = self.client_files();
        fs::create_dir_all(&place).expect("a folder for the client's files");
        // `ip netns exec` mounts these over those of /etc.
        let resolv = format!("nameserver {SERVER_ADDRESS}\n");
        for (file, text) in [("resolv.conf", resolv.as_str()), ("hosts", hosts)] {
            fs::write(place.join(file), text).expect("a file of the client's");
        }
    }

    fn client_files(&self) -> PathBuf {
        Path::new("/etc/netns").join(self.host(CLIENT))
    }

    /// Drops every further packet in both directions, without an error to either side.
    pub(crate) fn cut(&self) {
        for chain in ["INPUT", "OUTPUT"] {
            let server = self.host(SERVER);
            let drop = ["-w", "-A", chain, "-p", "tcp", "-j", "DROP"];
            run("ip", &[["netns", "exec", &server, "iptables"].as_slice(), &drop].concat());
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for end in [CLIENT, SERVER] {
            // What is left of a namespace is no reason to fail twice.
            let _ = Command::new("ip").args(["netns", "del", &self.host(end)]).status();
        }
        let _ = fs::remove_dir_all(self.client_files());
    }
}
