//! The gateway's settings: the environment first, each also a flag.
//!
//! Everything is checked here, before a port is bound.

use std::{ffi::OsString, fmt, net::SocketAddr, str::FromStr};

use clap::{Parser, ValueEnum, error::ErrorKind};
use http::{Uri, header::HeaderValue};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The settings of `edge-gateway`.
#[derive(Debug, Clone, Parser)]
#[command(name = "edge-gateway", version, about)]
pub struct Config {
    /// Where to listen for browsers: an address and a port.
    #[arg(
        long = "gateway-listen",
        env = "GATEWAY_LISTEN",
        value_name = "GATEWAY_LISTEN",
        default_value = "127.0.0.1:4000"
    )]
    pub listen: SocketAddr,

    /// Where persistence-service is: one URL, or several, comma-separated, to spread over
    /// and fail over between.
    #[arg(
        long = "gateway-persistence-url",
        env = "GATEWAY_PERSISTENCE_URL",
        value_name = "GATEWAY_PERSISTENCE_URL",
        default_value = "http://127.0.0.1:50051"
    )]
    pub persistence_url: ServiceUrls,

    /// Whose pages may use this gateway besides its own: origins, comma-separated, or `*`.
    #[arg(
        long = "cors-allowed-origins",
        env = "CORS_ALLOWED_ORIGINS",
        value_name = "CORS_ALLOWED_ORIGINS",
        default_value = "",
        hide_default_value = true
    )]
    pub allowed_origins: AllowedOrigins,

    /// How many threads serve, 1 to 256; half of the machine's cores where absent.
    #[arg(
        long,
        env = "GATEWAY_WORKERS",
        value_name = "GATEWAY_WORKERS",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub workers: Option<u16>,

    /// What to log: `error`, `warn`, `info`, `debug`, `trace`, or tracing's directives.
    #[arg(
        long = "rust-log",
        env = "RUST_LOG",
        value_name = "RUST_LOG",
        default_value = "info"
    )]
    pub log: LogFilter,

    /// How to write the log: lines for people, or JSON for programs.
    #[arg(
        long,
        env = "LOG_FORMAT",
        value_name = "LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

impl Config {
    /// How many threads serve. The service and Redis run beside this program as a rule; a
    /// thread for each core would only wait for them, and be woken for nothing.
    pub fn workers(&self) -> usize {
        self.workers.map_or_else(
            || std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            usize::from,
        )
    }

    /// Reads the settings from `arguments` (the program's name first) and the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Asked`] for `--help` and `--version`, else what is wrong, in one line.
    pub fn read<I, T>(arguments: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Self::try_parse_from(arguments).map_err(|error| {
            let text = error.to_string();
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) {
                return ConfigError::Asked(text);
            }
            let lines: Vec<&str> = text
                .lines()
                .map(str::trim)
                .take_while(|line| !line.is_empty())
                .collect();
            ConfigError::Invalid(lines.join(" ").trim_start_matches("error: ").to_owned())
        })
    }
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not an error: the text that `--help` or `--version` asked for.
    #[error("{0}")]
    Asked(String),
    /// One line that names the setting and what is wrong with it.
    #[error("{0}")]
    Invalid(String),
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, in tracing's directive syntax; valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter itself. The Socket.io libraries are silent unless it names them: what
    /// they call errors is what clients do, and no client may fill the log.
    pub fn to_filter(&self) -> EnvFilter {
        let quiet = ["socketioxide", "engineioxide"]
            .into_iter()
            .filter(|library| !self.0.contains(library))
            .map(|library| format!(",{library}=off"));
        EnvFilter::new(
            std::iter::once(self.0.clone())
                .chain(quiet)
                .collect::<String>(),
        )
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // An empty variable is one that is not set.
        let text = if text.is_empty() { "info" } else { text };
        EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        // A bare word is a module to tracing, so a mistyped level would silence everything.
        for word in text.split(',').map(str::trim) {
            let is_plain = !word.contains(['=', '[']);
            let is_ours = word.starts_with("edge_gateway");
            if is_plain && !is_ours && word.parse::<LevelFilter>().is_err() {
                return Err(format!(
                    "`{word}` is no level; of a module it is written module=level"
                ));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// The URLs of the persistence services; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrls(Vec<String>);

impl ServiceUrls {
    /// The URLs in the order given.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ServiceUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl FromStr for ServiceUrls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let urls: Vec<String> = text
            .split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .map(str::to_owned)
            .collect();
        if urls.is_empty() {
            return Err("at least one URL is needed".to_owned());
        }
        for url in &urls {
            let uri: Uri = url.parse().map_err(|_| format!("`{url}` is no URL"))?;
            if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
                return Err(format!(
                    "`{url}` must begin with http:// or https:// and name a host"
                ));
            }
        }
        Ok(Self(urls))
    }
}

/// Whose pages may use the gateway from another origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Everybody's.
    Any,
    /// These; an empty list leaves only the gateway's own.
    Listed(Vec<HeaderValue>),
}

impl FromStr for AllowedOrigins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        if names == ["*"] {
            return Ok(Self::Any);
        }
        let mut origins = Vec::with_capacity(names.len());
        for name in names {
            let origin = parse_origin(name)
                .ok_or_else(|| format!("`{name}` is no origin such as https://example.org"))?;
            origins.push(origin);
        }
        Ok(Self::Listed(origins))
    }
}

/// An origin as browsers send it: scheme, host in lower case, a port unless it is the
/// scheme's own, nothing behind.
fn parse_origin(name: &str) -> Option<HeaderValue> {
    let uri: Uri = name.strip_suffix('/').unwrap_or(name).parse().ok()?;
    let scheme = uri.scheme_str()?;
    let host = uri.host()?;
    if !matches!(scheme, "http" | "https")
        || !matches!(uri.path(), "" | "/")
        || uri.query().is_some()
    {
        return None;
    }
    if uri.authority()?.as_str().contains('@') {
        return None;
    }
    let own_port = if scheme == "http" { 80 } else { 443 };
    let origin = match uri.port_u16() {
        Some(port) if port != own_port => format!("{scheme}://{host}:{port}"),
        Some(_) | None => format!("{scheme}://{host}"),
    };
    HeaderValue::from_str(&origin.to_ascii_lowercase()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Config, ConfigError> {
        Config::read([&["edge-gateway"], arguments].concat())
    }

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let config = read(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:4000");
        assert_eq!(config.persistence_url.to_string(), "http://127.0.0.1:50051");
        assert_eq!(config.allowed_origins, AllowedOrigins::Listed(Vec::new()));
        assert_eq!(config.log_format, LogFormat::Text);
    }

    #[test]
    fn a_bad_value_is_told_in_one_line_that_names_the_variable() {
        for (arguments, variable) in [
            (["--gateway-listen", "nowhere"], "GATEWAY_LISTEN"),
            (
                ["--gateway-persistence-url", "localhost:1"],
                "GATEWAY_PERSISTENCE_URL",
            ),
            (
                ["--gateway-persistence-url", " , "],
                "GATEWAY_PERSISTENCE_URL",
            ),
            (
                ["--cors-allowed-origins", "example.org"],
                "CORS_ALLOWED_ORIGINS",
            ),
            (
                ["--cors-allowed-origins", "http://a/b"],
                "CORS_ALLOWED_ORIGINS",
            ),
            (["--rust-log", "a=b=c"], "RUST_LOG"),
            (["--rust-log", "inof"], "RUST_LOG"),
            (["--rust-log", "info,tonic"], "RUST_LOG"),
            (["--log-format", "xml"], "LOG_FORMAT"),
        ] {
            let text = read(&arguments).unwrap_err().to_string();
            assert!(text.contains(variable), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for flag in ["--help", "--version"] {
            assert!(matches!(read(&[flag]), Err(ConfigError::Asked(_))));
        }
    }

    #[test]
    fn several_services_and_origins_are_separated_by_commas() {
        let config = read(&[
            "--gateway-persistence-url",
            "http://a:1, http://b:2",
            "--cors-allowed-origins",
            "https://Example.org:443/,http://localhost:5173",
        ])
        .unwrap();
        assert_eq!(
            config.persistence_url.as_slice(),
            ["http://a:1", "http://b:2"]
        );
        let AllowedOrigins::Listed(origins) = config.allowed_origins else {
            panic!()
        };
        assert_eq!(origins, ["https://example.org", "http://localhost:5173"]);
    }
}
