//! A name server that drops every query for IPv6 addresses, and every one for some names.

use std::net::{Ipv4Addr, UdpSocket};

/// The address that the server gives for each name.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// The first label of names that are not answered.
pub(crate) const UNANSWERED: &str = "unanswered";

/// The type of a query for IPv4 addresses (RFC 1035, 3.2.2).
const A: [u8; 2] = [0, 1];

/// The server's socket.
pub(crate) fn bind() -> UdpSocket {
    UdpSocket::bind(("0.0.0.0", 53)).expect("the port of the name server is free")
}

/// Answers queries for ever.
pub(crate) fn serve(socket: &UdpSocket) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query) {
        if let Some(reply) = reply(&query[..length]) {
            socket.send_to(&reply, from).expect("a reply is sent");
        }
    }
}

/// The reply to a query for an IPv4 address (RFC 1035, 4.1).
fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let header = 12;
    let end = header + query.get(header..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(header..end + 4)?;
    // Behind the length of the first label.
    let is_unanswered = question[1..].starts_with(UNANSWERED.as_bytes());
    if query.get(end..end + 2)? != A || is_unanswered {
        return None;
    }
    let mut reply = query[..2].to_vec();
    // A response without an error; one question, one answer.
    reply.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend(question);
    // The name of the question, A, IN, 60 s, four bytes.
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    reply.extend(ADDRESS.octets());
    Some(reply)
}
