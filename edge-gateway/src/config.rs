//! The gateway's settings. Everything is checked here, before a port is bound.

use std::{fmt, net::SocketAddr, str::FromStr};

use clap::Parser;
use http::{Uri, header::HeaderValue};
use roomkeeper_common::settings::{self, LogSettings};

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

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogSettings,
}

impl Config {
    /// How many threads serve.
    pub fn workers(&self) -> usize {
        settings::workers(self.workers)
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
    use roomkeeper_common::settings::{LogFormat, SettingsError};

    use super::*;

    fn read(arguments: &[&str]) -> Result<Config, SettingsError> {
        settings::parse([&["edge-gateway"], arguments].concat())
    }

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let config = read(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:4000");
        assert_eq!(config.persistence_url.to_string(), "http://127.0.0.1:50051");
        assert_eq!(config.allowed_origins, AllowedOrigins::Listed(Vec::new()));
        assert_eq!(config.log.format, LogFormat::Text);
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
            (["--workers", "0"], "GATEWAY_WORKERS"),
        ] {
            let text = read(&arguments).unwrap_err().to_string();
            assert!(text.starts_with(variable), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
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
