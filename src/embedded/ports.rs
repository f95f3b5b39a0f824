//! Free ports on 127.0.0.1.

use std::io;
use std::net::Ipv4Addr;
use std::net::TcpListener;

/// Below the range from which the system usually takes the ports of outgoing connections: while
/// a killed server is down, no client can be given its port by chance.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;
const TRIES_MAX: u32 = 64;

/// A port of 127.0.0.1 that was free a moment ago. Another process may take it before the caller
/// does, so the caller tries again with another one then.
///
/// # Errors
///
/// The operating system's answer when no port at all can be had.
pub fn free_port() -> io::Result<u16> {
    for _ in 0..TRIES_MAX {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let port = FIRST + u16::from_le_bytes(random) % COUNT;
        if bind(port).is_ok() {
            return Ok(port);
        }
    }
    bind(0)
}

/// The port on which listening worked; the socket is closed again.
fn bind(port: u16) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();

        assert!(bind(listener.local_addr().unwrap().port()).is_err());
        assert!(free_port().unwrap() > 0);
    }
}
