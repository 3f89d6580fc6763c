use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_util::sync::CancellationToken;

/// A TCP proxy on loopback that can fall silent or cut what it carries.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    carried: Arc<Mutex<Vec<Carried>>>,
    lost: Lost,
    accepting: tokio::task::JoinHandle<()>,
}

/// The bytes by which the answer that is to be lost is known.
type Lost = Arc<Mutex<Option<&'static str>>>;

#[derive(Clone, Debug, Default)]
struct Carried {
    is_mute: Arc<AtomicBool>,
    cut: CancellationToken,
}

impl Proxy {
    /// Forwards to a port on loopback.
    ///
    /// # Panics
    ///
    /// Where no port can be bound.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let own_port = listener.local_addr().expect("an address").port();
        let carried: Arc<Mutex<Vec<Carried>>> = Arc::default();
        let lost = Lost::default();
        let accepting = tokio::spawn({
            let carried = carried.clone();
            let lost = lost.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
                        continue;
                    };
                    let connection = Carried::default();
                    carried
                        .lock()
                        .expect("nobody panicked")
                        .push(connection.clone());
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let nothing = Lost::default();
                    tokio::spawn(carry(from_client, to_server, connection.clone(), nothing));
                    tokio::spawn(carry(from_server, to_client, connection, lost.clone()));
                }
            }
        });
        Self {
            port: own_port,
            carried,
            lost,
            accepting,
        }
    }

    /// Ends the connection on which the next answer with these bytes comes, in its place.
    ///
    /// # Panics
    ///
    /// Where a task of the proxy panicked.
    pub fn lose_answer(&self, with: &'static str) {
        *self.lost.lock().expect("nobody panicked") = Some(with);
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets nothing through any more on the connections there are, and keeps them
    /// open: their peers are told nothing. New ones are carried.
    ///
    /// # Panics
    ///
    /// Where a task of the proxy panicked.
    pub fn mute(&self) {
        for connection in self.carried.lock().expect("nobody panicked").iter() {
            connection.is_mute.store(true, Ordering::Relaxed);
        }
    }

    /// Ends all connections.
    ///
    /// # Panics
    ///
    /// Where a task of the proxy panicked.
    pub fn cut(&self) {
        for connection in self.carried.lock().expect("nobody panicked").drain(..) {
            connection.cut.cancel();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, connection: Carried, lost: Lost) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = tokio::select! {
            () = connection.cut.cancelled() => return,
            read = from.read(&mut buffer) => read,
        };
        let Ok(length @ 1..) = read else { return };
        let is_lost = |lost: &mut &'static str| {
            let lost = lost.as_bytes();
            buffer[..length]
                .windows(lost.len())
                .any(|part| part == lost)
        };
        let answer = (lost.lock().expect("nobody panicked")).take_if(is_lost);
        if answer.is_some() {
            connection.cut.cancel();
            return;
        }
        if connection.is_mute.load(Ordering::Relaxed) {
            continue;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
