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
    accepting: tokio::task::JoinHandle<()>,
}

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
        let accepting = tokio::spawn({
            let carried = carried.clone();
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
                    tokio::spawn(carry(from_client, to_server, connection.clone()));
                    tokio::spawn(carry(from_server, to_client, connection));
                }
            }
        });
        Self {
            port: own_port,
            carried,
            accepting,
        }
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

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, connection: Carried) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = tokio::select! {
            () = connection.cut.cancelled() => return,
            read = from.read(&mut buffer) => read,
        };
        let Ok(length @ 1..) = read else { return };
        if connection.is_mute.load(Ordering::Relaxed) {
            continue;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
