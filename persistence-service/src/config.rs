//! The service's settings. Everything is checked here, before a port is bound.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use roomkeeper_common::settings::{self, LogSettings};

use crate::repository::redis::RedisAddress;

/// Keeps rooms, in Redis or in a local file, and serves them over gRPC.
#[derive(Clone, Debug, Parser)]
#[command(name = "persistence-service", version)]
pub struct Config {
    /// Where Redis is: `redis://`, `rediss://` or `redis+unix://`; several,
    /// separated by commas, are servers of one cluster; `redis+sentinel://host,host/service`
    /// is the master that sentinels know. Without it rooms are kept in a file.
    #[arg(long, env = "REDIS_URL", value_parser = RedisAddress::parse, hide_env_values = true)]
    pub redis_url: Option<RedisAddress>,

    /// The folder of that file.
    #[arg(long, env = "PERSISTENCE_DATA_DIR", default_value = "./data")]
    pub persistence_data_dir: PathBuf,

    /// The address that gRPC is served at.
    #[arg(long, env = "PERSISTENCE_LISTEN", default_value = "127.0.0.1:50051")]
    pub persistence_listen: SocketAddr,

    /// How long a room lives after its last activity: `24h`, `90m`, `3s`, `500ms`.
    #[arg(long, env = "ROOM_TTL", default_value = "24h", value_parser = settings::duration)]
    pub room_ttl: Duration,

    /// How many messages a room keeps, 1 to 1,000.
    #[arg(long, env = "MESSAGE_LIMIT", default_value_t = 100,
          value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub message_limit: u16,

    /// How many messages somebody who joins is shown, 1 to 1,000.
    #[arg(long, env = "HISTORY_LIMIT", default_value_t = 50,
          value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub history_limit: u16,

    /// How many threads serve, 1 to 256; half of the machine's cores where absent.
    #[arg(long, env = "PERSISTENCE_WORKERS",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub persistence_workers: Option<u16>,

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogSettings,
}

impl Config {
    /// How many threads serve.
    pub fn workers(&self) -> usize {
        settings::workers(self.persistence_workers)
    }
}

#[cfg(test)]
mod tests {
    use roomkeeper_common::settings::SettingsError;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Config, SettingsError> {
        settings::parse([&["persistence-service"], flags].concat())
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.room_ttl, Duration::from_secs(86_400));
        assert_eq!((config.message_limit, config.history_limit), (100, 50));
        assert_eq!(config.persistence_listen.to_string(), "127.0.0.1:50051");
        assert_eq!(config.persistence_data_dir, PathBuf::from("./data"));
        assert!(config.redis_url.is_none());
    }

    #[test]
    fn a_bad_value_is_named_in_one_line() {
        for (flags, variable) in [
            (["--room-ttl", "24"], "ROOM_TTL"),
            (["--room-ttl", "soon"], "ROOM_TTL"),
            (["--message-limit", "0"], "MESSAGE_LIMIT"),
            (["--persistence-listen", "nowhere"], "PERSISTENCE_LISTEN"),
        ] {
            let line = parse(&flags).unwrap_err().to_string();
            assert!(line.starts_with(variable), "{line}");
            assert_eq!(line.lines().count(), 1, "{line}");
        }
    }

    #[test]
    fn a_bad_address_of_redis_is_not_repeated() {
        for url in [
            "redis://:hunter2@",
            "http://hunter2",
            "redis://a,http://hunter2",
            "redis+sentinel://:hunter2@a",
        ] {
            let line = parse(&["--redis-url", url]).unwrap_err().to_string();
            assert!(
                line.starts_with("REDIS_URL") && !line.contains("hunter2"),
                "{line}"
            );
        }
    }
}
