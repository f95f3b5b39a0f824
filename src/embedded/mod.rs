//! Private Redis and Postgres servers as child processes, for `headroom dev` and for the tests.
//!
//! Architecture invariants: a server ends with the process that started it, even when that one is
//! killed (see `spawner`), and no two run on one folder, even when the first is still
//! shutting down (see `lock`). Nothing here speaks to a store on behalf of the service.

mod account;
mod error;
pub mod find;
mod home;
mod initdb;
mod lock;
mod ports;
mod postgres;
mod process;
mod redis;
mod spawner;

pub use error::EmbeddedError;
pub use ports::free_port;
pub use postgres::PostgresOptions;
pub use postgres::PostgresServer;
pub use redis::RedisOptions;
pub use redis::RedisServer;

/// How often a server is started anew because another process took its port.
const PORT_ATTEMPTS_MAX: u32 = 5;

/// The parts of a URL that stand between `://` and `@`, percent-encoded as RFC 3986 asks.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;

    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_encoded() {
        assert_eq!(percent_encoded("a-B.9_~"), "a-B.9_~");
        assert_eq!(percent_encoded("p@s/w:ö"), "p%40s%2Fw%3A%C3%B6");
    }
}
