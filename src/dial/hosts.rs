//! The hosts file, where the system's resolver cannot be asked for one family and respect it.
//!
//! A line `192.0.2.7 feed.example` is to say where that name leads, and that no name server is asked. glibc keeps to it
//! when it is asked for both families at once. Asked for IPv6 alone, it finds no line, asks a name server, and the dial
//! would prefer the address that the line was to replace.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;

use crate::dial::lookups::Family;

/// The hosts file. A system that has none there answers for it itself.
const PATH: &str = "/etc/hosts";

/// Returns whether the hosts file has addresses of a name, and none of this family.
pub(super) fn has_other_family_only(name: &str, family: Family) -> bool {
    File::open(PATH).is_ok_and(|file| lists_other_family_only(BufReader::new(file), name, family))
}

fn lists_other_family_only(mut hosts: impl BufRead, name: &str, family: Family) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut has_other = false;
    let mut line = Vec::new();
    // A line that is not UTF-8 is read all the same: only its comment may be.
    while hosts.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        match listed(&String::from_utf8_lossy(&line), name) {
            Some(found) if found == family => return false,
            Some(_) => has_other = true,
            None => {}
        }
        line.clear();
    }
    has_other
}

/// Returns the family of the address in a line that lists this name.
fn listed(line: &str, name: &str) -> Option<Family> {
    let mut words = line.split('#').next()?.split_whitespace();
    // The zone of an address is of no interest here.
    let addr = words.next()?.split('%').next()?.parse::<IpAddr>().ok()?;
    let family = if addr.is_ipv6() { Family::V6 } else { Family::V4 };
    words.any(|listed| listed.eq_ignore_ascii_case(name)).then_some(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &[u8] = b"# 192.0.2.9 commented\n\
        192.0.2.7\tFeed.example  feed # other\xff\n\
        \n\
        ::1 localhost six\r\n\
        127.0.0.1 localhost\n\
        fe80::1%eth0 router\n\
        nonsense odd\n\
        192.0.2.8 last";

    #[test]
    fn a_name_with_an_address_of_one_family_has_none_of_the_other() {
        let other_only = |name, family| lists_other_family_only(HOSTS, name, family);
        for name in ["feed.example", "FEED", "feed.example.", "last"] {
            assert!(other_only(name, Family::V6), "{name}");
            assert!(!other_only(name, Family::V4), "{name}");
        }
        for name in ["six", "router"] {
            assert!(other_only(name, Family::V4), "{name}");
            assert!(!other_only(name, Family::V6), "{name}");
        }
        for name in ["localhost", "commented", "other", "odd", "example", "unknown", ""] {
            assert!(!other_only(name, Family::V6) && !other_only(name, Family::V4), "{name}");
        }
    }
}
