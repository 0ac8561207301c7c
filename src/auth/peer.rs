//! Whose process is at the other end of a loopback connection.
//!
//! A door without keys is for the operator's own programs. Steps that may use the network reach loopback too, and so
//! does every other user of the machine; the kernel tells them apart by the user of the connecting socket.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt as _;
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
        Self {
            connection: Connection::of(stream.io(), stream.io().local_addr(), *stream.remote_addr()),
            own: Arc::default(),
        }
    }
}

impl Peer {
    /// Whether the connecting process belongs to the user that this process runs as. Where that can't be told, it
    /// doesn't, and the next request is looked at anew.
    pub fn is_own(&self) -> bool {
        if let Some(own) = self.own.get() {
            return *own;
        }
        let user = self.connection.and_then(Connection::far_user);
        user.is_some_and(|user| *self.own.get_or_init(|| Some(user) == own_user()))
    }
}

/// A connection that this process accepted.
#[derive(Debug, Clone, Copy)]
struct Connection {
    /// The addresses of this process's end and of the caller's. One of them alone names no connection: a port may be
    /// used towards several others at once, and by another user a minute ago.
    near: SocketAddr,
    far: SocketAddr,
    /// What the kernel calls this process's end. When that is gone, both addresses may be another connection's.
    inode: u64,
}

/// What stands for users that have no number in this process's user namespace (user_namespaces(7)).
const UNMAPPED: u32 = 65_534;

/// The user of the process that `/proc/self` is; none where others may look the same.
fn own_user() -> Option<u32> {
    let user = std::fs::metadata("/proc/self").ok()?.uid();
    let maps_all = || {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        map.split_whitespace().eq(["0", "0", "4294967295"])
    };
    (user != UNMAPPED || maps_all()).then_some(user)
}

/// The lines of the kernel's tables of connections (proc_pid_net(5)), read when they are wanted.
fn lines() -> impl Iterator<Item = String> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].into_iter();
    tables.flat_map(|path| {
        let table = std::fs::read_to_string(path).unwrap_or_default();
        table.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    })
}

impl Connection {
    fn of(stream: &impl AsRawFd, near: std::io::Result<SocketAddr>, far: SocketAddr) -> Option<Self> {
        let file = format!("/proc/self/fd/{}", stream.as_raw_fd());
        Some(Self {
            near: near.ok()?,
            far,
            inode: std::fs::metadata(file).ok()?.ino(),
        })
    }

    /// The user of the socket at the far end. `None` once its process closed it: the kernel then shows it as root's,
    /// whoever's it was. `None` also once this end is gone.
    fn far_user(self) -> Option<u32> {
        let theirs = rows(self.far, self.near);
        let user = lines().find_map(|line| Row::read(&line).filter(|row| row.is_of(&theirs)).and_then(Row::user))?;
        // Looked at after the far end: as long as this end was there, nobody else had that one.
        let ours = rows(self.near, self.far);
        let is_there = |line: String| Row::read(&line).is_some_and(|row| row.inode == self.inode && row.is_of(&ours));
        lines().any(is_there).then_some(user)
    }
}

/// A socket in the tables.
struct Row<'a> {
    ends: [&'a str; 2],
    user: u32,
    /// Of the file that a process holds it by; 0 where none does any more.
    inode: u64,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut columns = line.split_ascii_whitespace().skip(1);
        Some(Self {
            ends: [columns.next()?, columns.next()?],
            user: columns.nth(4)?.parse().ok()?,
            inode: columns.nth(1)?.parse().ok()?,
        })
    }

    fn is_of(&self, rows: &[[String; 2]]) -> bool {
        rows.iter().any(|row| *row == self.ends)
    }

    /// Whose it is, while a process holds it.
    fn user(self) -> Option<u32> {
        (self.inode != 0).then_some(self.user)
    }
}

/// The local and the remote address of one end's rows: in the table of its family, and where both ends are IPv4 as the
/// IPv6 socket that it may be.
fn rows(local: SocketAddr, remote: SocketAddr) -> Vec<[String; 2]> {
    let six = [local, remote].map(|end| match end.ip() {
        IpAddr::V4(ip) => table_form(&ip.to_ipv6_mapped().octets(), end.port()),
        IpAddr::V6(ip) => table_form(&ip.octets(), end.port()),
    });
    match (local.ip(), remote.ip()) {
        (IpAddr::V4(here), IpAddr::V4(there)) => {
            let four = [
                table_form(&here.octets(), local.port()),
                table_form(&there.octets(), remote.port()),
            ];
            vec![four, six]
        }
        _ => vec![six],
    }
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
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const LINE: &str =
        "   1: 0100007F:A1B2 0100007F:2253 01 00000000:00000000 00:00000000 00000000  1000        0 4242 1";

    #[test]
    fn lines_of_the_table_are_read() {
        let row = Row::read(LINE).expect("a row");
        assert_eq!((row.user, row.inode), (1000, 4242));
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert!(row.is_of(&rows(address(0xA1B2), address(0x2253))));
        assert!(
            !row.is_of(&rows(address(0x2253), address(0xA1B2))),
            "the other end is somebody else's"
        );
        assert!(
            !row.is_of(&rows(address(0xA1B2), address(0x1538))),
            "a port may have several connections"
        );
        assert_eq!(row.user(), Some(1000));
        assert!(Row::read("").is_none());
    }

    #[test]
    fn a_socket_that_no_process_holds_is_nobodys() {
        let closed = LINE.replace("1000        0 4242", "0        0 0");
        assert_eq!(Row::read(&closed).expect("a row").user(), None);
    }

    /// A connection with both ends, and what the server knows of it.
    fn connected(listen: &str) -> Option<(TcpStream, TcpStream, Connection)> {
        let listener = TcpListener::bind(listen).ok()?;
        let far = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let (near, address) = listener.accept().expect("is accepted");
        let connection = Connection::of(&near, near.local_addr(), address).expect("has addresses");
        Some((near, far, connection))
    }

    #[test]
    fn a_connection_of_this_process_is_its_own_until_it_is_closed() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let Some((near, far, connection)) = connected(listen) else {
                continue;
            };
            assert_eq!(connection.far_user(), own_user(), "{connection:?}");
            drop(far);
            assert_eq!(connection.far_user(), None, "{connection:?}");
            drop(near);
        }
    }

    #[test]
    fn addresses_that_became_another_connections_tell_nothing() {
        let (_near, _far, connection) = connected("127.0.0.1:0").expect("connected");
        let gone = Connection {
            inode: connection.inode + 1,
            ..connection
        };
        assert_eq!(gone.far_user(), None, "{gone:?}");
    }
}
