//! The persistence service: reads its settings, binds, runs until it is told to stop.

use std::process::ExitCode;

use persistence_service::{
    app,
    config::{Config, one_line},
    repository::embedded::OpenError,
    telemetry,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// The exit code where the settings are wrong.
const USAGE: u8 = 2;

/// What a process is sent that writes a file longer than it may.
const SIGXFSZ: i32 = 25;

/// The exit code after a second signal.
const STOPPED_AT_ONCE: i32 = 130;

fn main() -> ExitCode {
    let config = match Config::read() {
        Ok(config) => config,
        Err(error) if error.use_stderr() => return refuse(&one_line(&error)),
        Err(help) => help.exit(),
    };
    telemetry::init(&config);
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
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut stop = Some(stop);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match stop.take() {
                // It ends with the receiver, whichever comes first.
                Some(stop) => {
                    let _ = stop.send(());
                }
                None => {
                    tracing::warn!("stopped at once by a second signal");
                    std::process::exit(STOPPED_AT_ONCE);
                }
            }
        }
    });
    app::run(config, listener, async {
        // A sender that is gone means the same: stop.
        drop(stopped.await);
    })
    .await
}
