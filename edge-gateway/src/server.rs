//! The accept loop: connections are bounded, may not be slow to ask, and can be ended.
//!
//! The framework's own loop has no time-out for a request's head, and its graceful stop
//! does not see connections that became WebSockets.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::TaskTracker,
};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::delivery::Meter;

/// How many connections there may be: each takes a file descriptor, and some must be left.
const MAX_CONNECTIONS: usize = 20_000;

/// How many connections may wait to be accepted: after a restart everybody comes at once,
/// and one that finds no place tries again a second later. The system may allow fewer.
const BACKLOG: u32 = 4_096;

/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long sent bytes may stay unacknowledged before the peer counts as gone.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be accepted, as when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One connection, as its requests know it.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    meter: OnceLock<Arc<Meter>>,
    cut: CancellationToken,
}

impl Connection {
    /// From now on what is written is a session's packets.
    pub(crate) fn carries(&self, meter: Arc<Meter>) {
        meter.carried_by(self.cut.clone());
        // A connection becomes a WebSocket at most once.
        let _ = self.meter.set(meter);
    }
}

/// Listens at an address.
///
/// # Errors
///
/// The address is in use, or is none of this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Connections of the program before this one may still be ending.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `router` on `listener` until `stop`; the connections are tracked by
/// `connections`, and end when `end` is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections: TaskTracker,
    stop: CancellationToken,
    end: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "no connection was accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            debug!("too many connections");
            continue;
        };
        if let Err(error) = tune(&stream) {
            debug!(%error, "a connection could not be set up");
            continue;
        }
        let connection = Arc::new(Connection {
            cut: end.child_token(),
            ..Default::default()
        });
        let io = Io::new(stream, connection.clone(), slot);
        let stopping = stop.clone();
        connections.spawn(handle(io, connection, router.clone(), stopping));
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(USER_TIMEOUT);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

async fn handle(io: Io, connection: Arc<Connection>, router: Router, stop: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        router.clone().oneshot(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    tokio::pin!(serving);
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "a connection ended badly");
    }
}

/// A TCP stream that counts what is written for a session, and ends when it is cut.
///
/// A peer that does not read keeps a writer waiting for as long as it likes; only ending
/// the stream from here frees what waits behind it.
struct Io {
    stream: TcpStream,
    connection: Arc<Connection>,
    // One for each direction, since each wakes its own task.
    cut_read: Pin<Box<WaitForCancellationFutureOwned>>,
    cut_write: Pin<Box<WaitForCancellationFutureOwned>>,
    _slot: tokio::sync::OwnedSemaphorePermit,
}

impl Io {
    fn new(
        stream: TcpStream,
        connection: Arc<Connection>,
        slot: tokio::sync::OwnedSemaphorePermit,
    ) -> Self {
        let cut = || Box::pin(connection.cut.clone().cancelled_owned());
        let (cut_read, cut_write) = (cut(), cut());
        Self {
            stream,
            connection,
            cut_read,
            cut_write,
            _slot: slot,
        }
    }

    fn is_cut_for_writing(&mut self, context: &mut Context<'_>) -> bool {
        self.cut_write.as_mut().poll(context).is_ready()
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let (Poll::Ready(Ok(bytes)), Some(meter)) = (written, self.connection.meter.get()) {
            meter.sent(*bytes);
        }
    }
}

fn was_cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut")
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut_read.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(was_cut()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut_for_writing(context) {
            return Poll::Ready(Err(was_cut()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut_for_writing(context) {
            return Poll::Ready(Err(was_cut()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
