//! A way to a host that a test can cut, and make stand still: a proxy on loopback.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// Nothing passes, and nobody is told.
    Still,
    /// Whoever was connected isn't any more, and nobody gets through.
    Cut,
    Over,
}

struct State {
    mode: Mutex<Mode>,
    changed: Condvar,
    passing: Mutex<Vec<TcpStream>>,
}

impl State {
    /// Waits while nothing passes; says whether anything may.
    fn may_pass(&self) -> bool {
        let mode = self.mode.lock().expect("is not poisoned");
        let mode = self
            .changed
            .wait_while(mode, |mode| *mode == Mode::Still)
            .expect("is not poisoned");
        *mode == Mode::Open
    }
}

pub struct Way {
    pub port: u16,
    address: &'static str,
    state: Arc<State>,
}

impl Way {
    pub fn to(port: u16) -> Self {
        Self::from("127.0.0.1", port)
    }

    /// The same from another address of this machine.
    pub fn from(address: &'static str, port: u16) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("binds");
        let way = Self {
            address,
            port: listener.local_addr().expect("has one").port(),
            state: Arc::new(State {
                mode: Mutex::new(Mode::Open),
                changed: Condvar::new(),
                passing: Mutex::default(),
            }),
        };
        let state = way.state.clone();
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                if *state.mode.lock().expect("is not poisoned") == Mode::Over {
                    return;
                }
                let state = state.clone();
                std::thread::spawn(move || pass(&state, from, port));
            }
        });
        way
    }

    pub fn open(&self) {
        self.set(Mode::Open);
    }

    pub fn stand_still(&self) {
        self.set(Mode::Still);
    }

    pub fn cut(&self) {
        self.set(Mode::Cut);
        for stream in self.state.passing.lock().expect("is not poisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn set(&self, mode: Mode) {
        *self.state.mode.lock().expect("is not poisoned") = mode;
        self.state.changed.notify_all();
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.cut();
        self.set(Mode::Over);
        // Wakes the one that waits for connections.
        let _ = TcpStream::connect((self.address, self.port));
    }
}

fn pass(state: &Arc<State>, from: TcpStream, port: u16) {
    if !state.may_pass() {
        return;
    }
    let Ok(to) = TcpStream::connect(("127.0.0.1", port)) else {
        return;
    };
    let copies = (from.try_clone().expect("clones"), to.try_clone().expect("clones"));
    let ends = [from.try_clone().expect("clones"), to.try_clone().expect("clones")];
    state.passing.lock().expect("is not poisoned").extend(ends);
    let back = state.clone();
    let back = std::thread::spawn(move || copy(&back, copies.1, copies.0));
    copy(state, from, to);
    let _ = back.join();
}

fn copy(state: &State, mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !state.may_pass() || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
