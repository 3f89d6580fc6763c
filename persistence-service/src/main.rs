//! The persistence service: reads its settings, binds, runs until it is told to stop.

use std::process::ExitCode;

use persistence_service::{app, config::Config, repository::embedded::OpenError};
use roomkeeper_common::{
    settings::{self, SettingsError},
    signals,
    tasks::Tasks,
    telemetry,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// The exit code where the settings are wrong.
const USAGE: u8 = 2;

/// What a process is sent that writes a file longer than it may.
const SIGXFSZ: i32 = 25;

fn main() -> ExitCode {
    let config: Config = match settings::read() {
        Ok(config) => config,
        Err(SettingsError::Asked(text)) => {
            use std::io::Write as _;
            // A reader that closes the pipe has read enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(SettingsError::Invalid(problem)) => return refuse(&problem),
    };
    telemetry::init(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.workers())
        .enable_all()
        .build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(async {
            // A worker polls it, and not this thread beside the workers.
            match tokio::spawn(serve(config)).await {
                Ok(served) => served,
                Err(failed) => Err(failed.into()),
            }
        }),
        Err(error) => Err(error.into()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<OpenError>() => refuse(&format!("{error:#}")),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "it is for who started the program, not for the log"
)]
fn refuse(problem: &str) -> ExitCode {
    eprintln!("persistence-service: {problem}");
    ExitCode::from(USAGE)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    use anyhow::Context as _;

    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("another TLS provider is installed already");
    }
    let listener = TcpListener::bind(config.persistence_listen)
        .await
        .with_context(|| format!("bind PERSISTENCE_LISTEN {}", config.persistence_listen))?;
    let store = match &config.redis_url {
        Some(address) => address.to_string(),
        None => config.persistence_data_dir.display().to_string(),
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        store,
        "persistence-service: gRPC at http://{}",
        listener.local_addr()?
    );

    // It would end the program; handled, the write fails as on a full disk.
    drop(signal(SignalKind::from_raw(SIGXFSZ))?);
    let tasks = Tasks::until(CancellationToken::new());
    let stop = signals::watch("persistence-service", &tasks).context("watch for signals")?;
    app::run(config, listener, tasks, stop.cancelled_owned()).await
}
