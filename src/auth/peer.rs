//! Whose process is at the other end of a loopback connection.
//!
//! A door without keys is for the operator's own programs. Steps that may use the network reach loopback too, and so
//! does every other user of the machine; the kernel tells them apart by the user of the connecting socket.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};

/// The listener of the server. Every connection's small answers are sent at once instead of after a delayed
/// acknowledgement.
#[derive(Debug)]
pub struct Doorway(TcpListener);

impl Doorway {
    /// Lets in what connects to `listener`.
    pub fn new(listener: TcpListener) -> Self {
        Self(listener)
    }
}

impl Listener for Doorway {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // A connection that refuses the option works, only slower.
        let _ = stream.set_nodelay(true);
        (stream, address)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    address: SocketAddr,
    /// Looked up once a connection, and only where it matters.
    own: Arc<OnceLock<bool>>,
}

impl Connected<IncomingStream<'_, Doorway>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Doorway>) -> Self {
        Self {
            address: *stream.remote_addr(),
            own: Arc::default(),
        }
    }
}

impl Peer {
    /// Whether the connecting process belongs to the user that this process runs as. Where that can't be told, it
    /// doesn't.
    pub fn is_own(&self) -> bool {
        *self.own.get_or_init(|| user_of(self.address) == Some(own_user()))
    }
}

/// The user of the process that `/proc/self` is.
fn own_user() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    // Of the process's own folder; the nobody of a file system that can't be read is nobody's.
    std::fs::metadata("/proc/self").map_or(u32::MAX, |folder| folder.uid())
}

/// The user of the socket whose own address is `address`, from the kernel's tables (proc_pid_net(5)).
fn user_of(address: SocketAddr) -> Option<u32> {
    let wanted = table_form(address);
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .into_iter()
        .find_map(|path| {
            let table = std::fs::read_to_string(path).ok()?;
            table.lines().skip(1).find_map(|line| user_in(line, &wanted))
        })
}

fn user_in(line: &str, wanted: &[String]) -> Option<u32> {
    let mut columns = line.split_whitespace();
    let local = columns.nth(1)?;
    let user = columns.nth(5)?;
    wanted.iter().any(|wanted| wanted == local).then(|| user.parse().ok())?
}

/// An address as the tables write it: each 32 bits in the machine's byte order; an IPv4 address also as the IPv6
/// socket that it may be.
fn table_form(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    let word = |bytes: &[u8]| {
        let bytes: [u8; 4] = bytes.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(bytes))
    };
    let six = |octets: [u8; 16]| format!("{}:{port:04X}", octets.chunks(4).map(word).collect::<String>());
    match address.ip() {
        IpAddr::V4(ip) => vec![
            format!("{}:{port:04X}", word(&ip.octets())),
            six(ip.to_ipv6_mapped().octets()),
        ],
        IpAddr::V6(ip) => vec![six(ip.octets())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_read() {
        let line = "   1: 0100007F:A1B2 0100007F:2253 01 00000000:00000000 00:00000000 00000000  1000        0 4242 1";
        assert_eq!(user_in(line, &["0100007F:A1B2".into()]), Some(1000));
        assert_eq!(
            user_in(line, &["0100007F:2253".into()]),
            None,
            "the other end is somebody else's"
        );
        assert_eq!(user_in("", &[String::new()]), None);
    }

    #[test]
    fn a_connection_of_this_process_is_its_own() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(listen) else {
                continue;
            };
            let stream = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
            let address = stream.local_addr().expect("an address");
            assert_eq!(user_of(address), Some(own_user()), "{address}");
        }
    }
}
