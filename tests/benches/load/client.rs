//! A browser's end of the wire, as little as it takes: Engine.IO and Socket.io over one
//! WebSocket, packets as text. A generator that parsed each delivery would measure itself.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, Utf8Bytes, protocol::WebSocketConfig},
};

/// The largest packet that is read: the largest board, and some.
const MAX_PACKET: usize = 32 << 20;

/// One socket in the namespace `/`.
pub(crate) struct Client {
    ws: WebSocketStream<TcpStream>,
    next_ack: u64,
}

impl Client {
    /// Connects and waits until the namespace is open.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .max_message_size(Some(MAX_PACKET))
            .max_frame_size(Some(MAX_PACKET));
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (ws, _) = client_async_with_config(url, stream, Some(config))
            .await
            .unwrap();
        let mut client = Self { ws, next_ack: 0 };
        let open = client.next().await;
        assert!(open.starts_with("0{"), "{open}");
        client.send("40".to_owned()).await;
        let connected = client.next().await;
        assert!(connected.starts_with("40{"), "{connected}");
        client
    }

    async fn send(&mut self, packet: String) {
        self.ws.send(Message::Text(packet.into())).await.unwrap();
    }

    /// Emits an event and returns the id of the ack that it asks for.
    pub(crate) async fn emit(&mut self, event: &str, payload: &str) -> u64 {
        let id = self.next_ack;
        self.next_ack += 1;
        self.send(format!("42{id}[\"{event}\",{payload}]")).await;
        id
    }

    /// The next packet that is no ping; pings are answered.
    pub(crate) async fn next(&mut self) -> Utf8Bytes {
        loop {
            match self.ws.next().await {
                Some(Ok(Message::Text(packet))) if packet.as_str() == "2" => {
                    self.send("3".to_owned()).await;
                }
                Some(Ok(Message::Text(packet))) => return packet,
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("a socket broke: {error}"),
                None => panic!("a socket was closed"),
            }
        }
    }

    /// Answers pings for ever, and ignores everything else.
    pub(crate) async fn idle(mut self) {
        loop {
            self.next().await;
        }
    }

    /// Waits for an ack, and gives each packet before it to `seen`; whether it says that
    /// the event succeeded.
    pub(crate) async fn answer(
        &mut self,
        id: u64,
        mut seen: impl FnMut(&str),
    ) -> (bool, Utf8Bytes) {
        let head = format!("43{id}[");
        loop {
            let packet = self.next().await;
            if packet.starts_with(&head) {
                return (packet.contains(r#""success":true"#), packet);
            }
            seen(&packet);
        }
    }

    /// Waits for the ack of an event that must succeed.
    async fn ack(&mut self, id: u64) -> Utf8Bytes {
        let (succeeded, packet) = self.answer(id, |_| ()).await;
        assert!(succeeded, "{}", &packet[..packet.len().min(300)]);
        packet
    }

    /// Joins a room, as a user of its own, and waits for the ack.
    pub(crate) async fn join(&mut self, room: &str, user: &str, sync: Sync) -> Utf8Bytes {
        let id = self.emit("join", &joining(room, user, sync)).await;
        self.ack(id).await
    }

    /// Emits an event and waits for its ack.
    pub(crate) async fn call(&mut self, event: &str, payload: &str) -> Utf8Bytes {
        let id = self.emit(event, payload).await;
        self.ack(id).await
    }

    /// Closes the connection.
    pub(crate) async fn close(mut self) {
        // The other end may have closed it first.
        drop(self.ws.close(None).await);
    }
}

/// How a member wants to hear of the board.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// The whole board each time, as clients of this kind of system commonly do.
    Full,
    /// Only what changed. The baseline does not know it.
    Delta,
}

/// The payload of `join`.
pub(crate) fn joining(room: &str, user: &str, sync: Sync) -> String {
    let sync = match sync {
        Sync::Full => "",
        Sync::Delta => r#","sync":"delta""#,
    };
    format!(r#"{{"roomId":"{room}","userId":"{user}","username":"{user}"{sync}}}"#)
}
