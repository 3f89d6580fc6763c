//! The settings: flags first, then the environment, then `.env`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

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
    #[arg(long, env = "ROOM_TTL", default_value = "24h", value_parser = parse_duration)]
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

    /// What is logged: `error`, `warn`, `info`, `debug`, or per module.
    #[arg(long, env = "RUST_LOG", default_value = "info", value_parser = parse_filter)]
    pub rust_log: String,

    /// How it is logged.
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What to log, in the syntax of tracing. A bare word is a module to tracing, so
/// a mistyped level would silence everything; it is refused.
fn parse_filter(text: &str) -> Result<String, String> {
    // An empty variable is one that is not set.
    let text = if text.is_empty() { "info" } else { text };
    EnvFilter::try_new(text).map_err(|_| "must be a level or a filter".to_owned())?;
    for word in text.split(',').map(str::trim) {
        let is_plain = !word.contains(['=', '[']);
        let is_ours = word.starts_with("persistence_service");
        if is_plain && !is_ours && word.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{word:?} is no level; of a module it is written module=level"
            ));
        }
    }
    Ok(text.to_owned())
}

/// A number and `ms`, `s`, `m`, `h` or `d`, from 100 ms to 365 days.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let problem = || "must be a number with ms, s, m, h or d, from 100ms to 365d".to_owned();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(problem)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| problem())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(problem()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .filter(|d| (Duration::from_millis(100)..=Duration::from_secs(365 * 86_400)).contains(d))
        .ok_or_else(problem)
}

impl Config {
    /// How many threads serve. The other program and Redis run beside this one as a
    /// rule; a thread for each core would only wait for them, and be woken for nothing.
    pub fn workers(&self) -> usize {
        self.persistence_workers.map_or_else(
            || std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            usize::from,
        )
    }

    /// Reads the settings of this process, `.env` of the working directory
    /// included, which never beats the real environment.
    ///
    /// # Errors
    ///
    /// A request for help, or one line that names what is wrong.
    pub fn read() -> Result<Self, clap::Error> {
        // No file is no mistake; a broken one is told as such.
        match dotenvy::from_path(".env") {
            Ok(_) => {}
            Err(error) if error.not_found() => {}
            Err(error) => {
                // A line that cannot be parsed may hold a secret: it is not repeated.
                let problem = if let dotenvy::Error::Io(error) = error {
                    error.to_string()
                } else {
                    "a line is not NAME=value".to_owned()
                };
                return Err(clap::Error::raw(
                    clap::error::ErrorKind::Io,
                    format!(".env: {problem}\n"),
                ));
            }
        }
        Self::try_parse()
    }
}

/// What is wrong with the settings, in one line.
pub fn one_line(error: &clap::Error) -> String {
    use clap::error::{ContextKind, ContextValue, ErrorKind};

    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let flag = context(ContextKind::InvalidArg);
    let variable = variable_of(&flag);
    let kind = error.kind();
    if !matches!(kind, ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
    }
    let mut problem = std::error::Error::source(error).map_or_else(
        || "is not one of the possible values".to_owned(),
        ToString::to_string,
    );
    if let Some(ContextValue::Strings(possible)) = error.get(ContextKind::ValidValue) {
        problem = format!("must be one of {}", possible.join(", "));
    }
    let value = context(ContextKind::InvalidValue);
    // An address may hold a password.
    let shown = if variable == "REDIS_URL" {
        String::new()
    } else {
        format!(" {value:?}")
    };
    format!("{variable}{shown}: {problem}")
}

/// The variable behind a flag as clap shows it: `--room-ttl <ROOM_TTL>`.
fn variable_of(flag: &str) -> String {
    let flag = flag.split([' ', ',']).next().unwrap_or_default();
    flag.trim_start_matches('-')
        .replace('-', "_")
        .to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from(["persistence-service"].iter().chain(flags))
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
            (["--log-format", "xml"], "LOG_FORMAT"),
            (["--rust-log", "inof"], "RUST_LOG"),
            (["--rust-log", "info,tonic"], "RUST_LOG"),
        ] {
            let line = one_line(&parse(&flags).unwrap_err());
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
            let error = Config::try_parse_from(["x", "--redis-url", url]).unwrap_err();
            let line = one_line(&error);
            assert!(
                line.starts_with("REDIS_URL") && !line.contains("hunter2"),
                "{line}"
            );
        }
    }

    #[test]
    fn durations_have_a_unit_and_bounds() {
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("3s").unwrap(), Duration::from_secs(3));
        assert_eq!(parse_duration("2d").unwrap(), Duration::from_secs(172_800));
        for bad in [
            "",
            "0s",
            "s",
            "-1s",
            "1.5h",
            "99999999999999999999h",
            "366d",
            "99ms",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
