//! The services: one channel each, and which to ask first.
//!
//! The transport's own balancing keeps picking dead endpoints, so the picking is ours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use roomkeeper_proto::v1::room_service_client::RoomServiceClient;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::{self, Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tracing::{info, warn};

/// The name under which the service reports its health.
const SERVICE: &str = "roomkeeper.v1.RoomService";

/// How long a health check may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often health is checked.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The largest answer that is read: the largest board (8 MiB) with its history, and room
/// for what the encoding adds.
const MAX_DECODED: usize = 32 << 20;

/// The largest request that is sent; a board change is at most 1 MiB.
const MAX_ENCODED: usize = 16 << 20;

/// One service.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: Arc<str>,
    channel: Channel,
    up: Arc<AtomicBool>,
}

impl Endpoint {
    fn new(url: &str) -> Result<Self, transport::Error> {
        let channel = transport::Endpoint::new(url.to_owned())?
            .connect_timeout(Duration::from_secs(1))
            .tcp_keepalive(Some(Duration::from_secs(10)))
            // A service that is silently gone ends its connection, and with it the feed.
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(3))
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(Self {
            url: url.into(),
            channel,
            up: Arc::new(AtomicBool::new(true)),
        })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of this service; cheap.
    pub fn client(&self) -> RoomServiceClient<Channel> {
        RoomServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_DECODED)
            .max_encoding_message_size(MAX_ENCODED)
    }

    /// Remembers that it could not be reached, so that others are asked first.
    pub fn is_down(&self) {
        if self.up.swap(false, Ordering::Relaxed) {
            warn!(service.url = %self.url, "persistence service: not ready");
        }
    }

    /// Remembers that it answered.
    pub fn is_up(&self) {
        if !self.up.swap(true, Ordering::Relaxed) {
            info!(service.url = %self.url, "persistence service: ready again");
        }
    }

    /// Asks the service for its health and remembers the answer.
    pub async fn probe(&self) -> bool {
        let request = HealthCheckRequest {
            service: SERVICE.to_owned(),
        };
        let mut client = HealthClient::new(self.channel.clone());
        let serving = matches!(
            timeout(PROBE_TIMEOUT, client.check(request)).await,
            Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving
        );
        if serving {
            self.is_up()
        } else {
            self.is_down()
        }
        serving
    }
}

/// All services.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    all: Arc<[Endpoint]>,
    next: Arc<AtomicUsize>,
}

impl Endpoints {
    pub(super) fn new(urls: &[String]) -> Result<Self, transport::Error> {
        let all = urls
            .iter()
            .map(|url| Endpoint::new(url))
            .collect::<Result<Arc<[_]>, _>>()?;
        Ok(Self {
            all,
            next: Arc::new(AtomicUsize::new(0)),
        })
    }

    /// The healthy ones in turn, then the others: one of those may be back.
    pub(super) fn in_order(&self) -> Vec<Endpoint> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turned = (0..self.all.len()).map(|i| &self.all[(first + i) % self.all.len()]);
        let (mut up, down): (Vec<_>, Vec<_>) = turned
            .cloned()
            .partition(|endpoint| endpoint.up.load(Ordering::Relaxed));
        up.extend(down);
        up
    }

    /// Checks everybody's health regularly, for ever.
    pub(super) async fn watch_health(&self) {
        let mut ticks = interval(PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            futures_util::future::join_all(self.all.iter().map(Endpoint::probe)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(endpoints: &Endpoints) -> Vec<String> {
        endpoints
            .in_order()
            .iter()
            .map(|endpoint| endpoint.url().to_owned())
            .collect()
    }

    #[tokio::test]
    async fn services_take_turns_and_the_unreachable_come_last() {
        let endpoints =
            Endpoints::new(&["http://a:1".to_owned(), "http://b:1".to_owned()]).unwrap();
        assert_eq!(urls(&endpoints), ["http://a:1", "http://b:1"]);
        assert_eq!(urls(&endpoints), ["http://b:1", "http://a:1"]);

        endpoints.all[0].is_down();
        assert_eq!(urls(&endpoints), ["http://b:1", "http://a:1"]);
        assert_eq!(urls(&endpoints), ["http://b:1", "http://a:1"]);
        endpoints.all[0].is_up();
        assert_eq!(urls(&endpoints), ["http://a:1", "http://b:1"]);
    }
}
