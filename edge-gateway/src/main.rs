//! `edge-gateway`: parses the settings, binds, runs until it is told to stop.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use edge_gateway::{app, config::Config, server};
use roomkeeper_common::{
    settings::{self, SettingsError},
    signals, telemetry,
};
use tracing::{error, info};

/// The exit code for settings that cannot be used.
const BAD_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let config: Config = match settings::read() {
        Ok(config) => config,
        Err(SettingsError::Asked(text)) => {
            use std::io::Write as _;
            // A reader that closes the pipe has read enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(SettingsError::Invalid(problem)) => {
            eprintln!("edge-gateway: {problem}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    telemetry::init(&config.log);

    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("edge-gateway: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    use anyhow::Context as _;

    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("another TLS provider is installed");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.workers())
        .enable_all()
        .build()
        .context("start a runtime")?;
    let served = runtime.block_on(async {
        info!("edge-gateway {}", env!("CARGO_PKG_VERSION"));
        info!("persistence service: {}", config.persistence_url);
        let listener = server::listen(config.listen)
            .with_context(|| format!("listen on {} (GATEWAY_LISTEN)", config.listen))?;
        let address = listener.local_addr().context("read the bound address")?;
        let app = app::build(&config)?;
        let shutdown = signals::watch("edge-gateway", app.tasks()).context("watch for signals")?;

        info!("edge-gateway: open http://{}/", reachable(address));
        app.run(listener, shutdown).await?;
        info!("edge-gateway: stopped");
        anyhow::Ok(())
    });
    // What still runs now has had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    served
}

/// Where a browser on this machine finds what listens at `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}
