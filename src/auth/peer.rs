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
    connection: Option<Connection>,
    /// Looked up once a connection, and only where it matters.
    own: Arc<OnceLock<bool>>,
}

impl Connected<IncomingStream<'_, Doorway>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Doorway>) -> Self {
        let far = *stream.remote_addr();
        Self {
            connection: stream.io().local_addr().ok().map(|near| Connection { near, far }),
            own: Arc::default(),
        }
    }
}

impl Peer {
    /// Whether the connecting process belongs to the user that this process runs as. Where that can't be told, it
    /// doesn't.
    pub fn is_own(&self) -> bool {
        let user = || self.connection.and_then(Connection::far_user);
        *self.own.get_or_init(|| user() == Some(own_user()))
    }
}

/// The addresses of a connection's two ends: this process's and the caller's. One of them alone names no connection: a
/// port may be used towards several others at once, and by another user a minute ago.
#[derive(Debug, Clone, Copy)]
struct Connection {
    near: SocketAddr,
    far: SocketAddr,
}

/// The user of the process that `/proc/self` is.
fn own_user() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    // Of the process's own folder; the nobody of a file system that can't be read is nobody's.
    std::fs::metadata("/proc/self").map_or(u32::MAX, |folder| folder.uid())
}

impl Connection {
    /// The user of the socket at the far end, from the kernel's tables (proc_pid_net(5)). `None` once its process
    /// closed it: the kernel then shows it as root's, whoever's it was.
    fn far_user(self) -> Option<u32> {
        let wanted = self.rows();
        ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
            .into_iter()
            .find_map(|path| {
                let table = std::fs::read_to_string(path).ok()?;
                table.lines().skip(1).find_map(|line| user_in(line, &wanted))
            })
    }

    /// The local and the remote address of the far end's rows: in the table of its family, and where both ends are IPv4
    /// as the IPv6 socket that it may be.
    fn rows(self) -> Vec<[String; 2]> {
        let six = [self.far, self.near].map(|end| match end.ip() {
            IpAddr::V4(ip) => table_form(&ip.to_ipv6_mapped().octets(), end.port()),
            IpAddr::V6(ip) => table_form(&ip.octets(), end.port()),
        });
        match (self.far.ip(), self.near.ip()) {
            (IpAddr::V4(far), IpAddr::V4(near)) => vec![
                [
                    table_form(&far.octets(), self.far.port()),
                    table_form(&near.octets(), self.near.port()),
                ],
                six,
            ],
            _ => vec![six],
        }
    }
}

/// The user in a line of a table, if it is of a connection in `wanted` that a process holds.
fn user_in(line: &str, wanted: &[[String; 2]]) -> Option<u32> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [_, local, remote, _, _, _, _, user, _, inode, ..] = columns.as_slice() else {
        return None;
    };
    let is_wanted = wanted.iter().any(|row| row == &[*local, *remote]);
    // What no process holds any more has no inode.
    (is_wanted && *inode != "0").then(|| user.parse().ok())?
}

/// An address as the tables write it: each 32 bits in the machine's byte order.
fn table_form(octets: &[u8], port: u16) -> String {
    let words = octets.chunks_exact(4).map(|word| {
        let word: [u8; 4] = word.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(word))
    });
    format!("{}:{port:04X}", words.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "   1: 0100007F:A1B2 0100007F:2253 01 00000000:00000000 00:00000000 00000000  1000        0 4242 1";

    fn row(local: &str, remote: &str) -> [[String; 2]; 1] {
        [[local.to_owned(), remote.to_owned()]]
    }

    #[test]
    fn lines_of_the_table_are_read() {
        assert_eq!(user_in(LINE, &row("0100007F:A1B2", "0100007F:2253")), Some(1000));
        let near_end = row("0100007F:2253", "0100007F:A1B2");
        assert_eq!(user_in(LINE, &near_end), None, "the other end is somebody else's");
        let same_port = row("0100007F:A1B2", "0100007F:1538");
        assert_eq!(user_in(LINE, &same_port), None, "a port may have several connections");
        assert_eq!(user_in("", &row("", "")), None);
    }

    #[test]
    fn a_socket_that_no_process_holds_is_nobodys() {
        let closed = LINE.replace("1000        0 4242", "0        0 0");
        assert_eq!(user_in(&closed, &row("0100007F:A1B2", "0100007F:2253")), None);
    }

    #[test]
    fn a_connection_of_this_process_is_its_own_until_it_is_closed() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(listen) else {
                continue;
            };
            let near = listener.local_addr().expect("an address");
            let stream = std::net::TcpStream::connect(near).expect("connects");
            let far = stream.local_addr().expect("an address");
            let (accepted, _) = listener.accept().expect("is accepted");
            let connection = Connection { near, far };
            assert_eq!(connection.far_user(), Some(own_user()), "{connection:?}");
            drop(stream);
            assert_eq!(connection.far_user(), None, "{connection:?}");
            drop(accepted);
        }
    }
}
