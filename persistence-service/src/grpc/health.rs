use roomkeeper_proto::v1::room_service_server::SERVICE_NAME;
use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

/// What health is asked for by: the empty name stands for the whole server.
pub(crate) const HEALTH_NAMES: [&str; 2] = ["", SERVICE_NAME];

/// Lets `grpc.health.v1` follow the store: the service serves while the store
/// can be reached. Ends when the store does.
pub(crate) async fn follow(reporter: HealthReporter, mut store: watch::Receiver<bool>) {
    loop {
        let status = if *store.borrow_and_update() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in HEALTH_NAMES {
            reporter.set_service_status(name, status).await;
        }
        if store.changed().await.is_err() {
            return;
        }
    }
}
