//! `edge-gateway`: parses the settings, binds, runs until it is told to stop.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use edge_gateway::{
    app,
    config::{Config, ConfigError},
    server, telemetry,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// The exit code for settings that cannot be used.
const BAD_CONFIG: u8 = 2;

/// The exit code after a second signal.
const STOPPED_AT_ONCE: i32 = 130;

fn main() -> ExitCode {
    // `.env` of the working directory, and of no other, never beats the real environment, and need not be there.
    if let Err(error) = dotenvy::from_path(".env")
        && !error.not_found()
    {
        // A line that cannot be parsed may hold a secret: it is not repeated.
        let problem = if let dotenvy::Error::Io(error) = error {
            error.to_string()
        } else {
            "a line is not NAME=value".to_owned()
        };
        eprintln!("edge-gateway: .env: {problem}");
        return ExitCode::from(BAD_CONFIG);
    }
    let config = match Config::read(std::env::args_os()) {
        Ok(config) => config,
        Err(ConfigError::Asked(text)) => {
            use std::io::Write as _;
            // Whoever asked and closed the pipe has seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(ConfigError::Invalid(problem)) => {
            eprintln!("edge-gateway: {problem}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    telemetry::init(&config);

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
        let shutdown = CancellationToken::new();
        tokio::spawn(watch_signals(shutdown.clone()));

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

/// Asks for a stop at the first SIGTERM or SIGINT, and exits at the second.
async fn watch_signals(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        error!("signals cannot be watched");
        return;
    };
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = next().await;
    info!("edge-gateway: {name}, stopping");
    shutdown.cancel();
    let name = next().await;
    warn!("edge-gateway: {name} again, exiting at once");
    std::process::exit(STOPPED_AT_ONCE);
}
