//! How settings are read: flags first, then the environment, then `.env`.
//!
//! Everything is checked here, before a port is bound. What is wrong is told in one line
//! that names the variable.

use std::{error::Error as _, ffi::OsString, str::FromStr, time::Duration};

use clap::{
    Args, CommandFactory, Parser, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The shortest and the longest duration that a setting may have.
const DURATIONS: (Duration, Duration) = (
    Duration::from_millis(100),
    Duration::from_secs(365 * 24 * 60 * 60),
);

/// The crates of this project, as tracing names them.
const OUR_CRATES: [&str; 3] = ["edge_gateway", "persistence_service", "roomkeeper_common"];

/// Libraries that log what clients do wrong as errors of their own. No client may fill the
/// log, so these are silent unless a filter names them.
const QUIET_LIBRARIES: [&str; 2] = ["socketioxide", "engineioxide"];

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not an error: the text that `--help` or `--version` asked for.
    #[error("{0}")]
    Asked(String),
    /// One line that names the setting and what is wrong with it.
    #[error("{0}")]
    Invalid(String),
}

/// Reads the settings of this process from its arguments and its environment. A `.env` in
/// the working directory is read too, and never beats the real environment.
///
/// # Errors
///
/// A request for help, or what is wrong with a setting or with `.env`.
pub fn read<S: Parser>() -> Result<S, SettingsError> {
    if let Err(error) = dotenvy::from_path(".env")
        && !error.not_found()
    {
        // A line that cannot be parsed may hold a secret, so it is not repeated.
        let problem = if let dotenvy::Error::Io(error) = error {
            error.to_string()
        } else {
            "a line is not NAME=value".to_owned()
        };
        return Err(SettingsError::Invalid(format!(".env: {problem}")));
    }
    parse(std::env::args_os())
}

/// Reads the settings from `arguments`, the program's name first, and the environment.
///
/// # Errors
///
/// A request for help, or what is wrong with a setting.
pub fn parse<S: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<S, SettingsError> {
    S::try_parse_from(arguments).map_err(|error| {
        if error.use_stderr() {
            SettingsError::Invalid(one_line::<S>(&error))
        } else {
            SettingsError::Asked(error.to_string())
        }
    })
}

/// What is wrong with the settings, in one line that names the variable.
fn one_line<S: CommandFactory>(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    if !matches!(
        error.kind(),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation
    ) {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        return line.trim_start_matches("error: ").to_owned();
    }

    // Clap names the flag as its help shows it: `--room-ttl <ROOM_TTL>`.
    let flag = context(ContextKind::InvalidArg);
    let flag = flag.split([' ', ',']).next().unwrap_or_default();
    let command = S::command();
    let argument = command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(flag.trim_start_matches('-')));
    let variable = argument
        .and_then(|argument| argument.get_env())
        .map_or_else(|| flag.into(), |name| name.to_string_lossy());

    let problem = if let Some(ContextValue::Strings(possible)) = error.get(ContextKind::ValidValue)
    {
        format!("must be one of {}", possible.join(", "))
    } else {
        error
            .source()
            .map_or_else(|| "cannot be read".to_owned(), ToString::to_string)
    };
    // A value that the help hides may hold a password.
    if argument.is_some_and(clap::Arg::is_hide_env_values_set) {
        format!("{variable}: {problem}")
    } else {
        format!(
            "{variable} {:?}: {problem}",
            context(ContextKind::InvalidValue)
        )
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
pub struct LogSettings {
    /// What to log: `error`, `warn`, `info`, `debug`, `trace`, or tracing's directives.
    #[arg(
        long = "rust-log",
        env = "RUST_LOG",
        value_name = "RUST_LOG",
        default_value = "info"
    )]
    pub filter: LogFilter,

    /// How to write the log: lines for people, or JSON for programs.
    #[arg(
        long = "log-format",
        env = "LOG_FORMAT",
        value_name = "LOG_FORMAT",
        default_value = "text"
    )]
    pub format: LogFormat,
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
    pub(crate) fn to_filter(&self) -> EnvFilter {
        let quiet = QUIET_LIBRARIES
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
            let is_ours = OUR_CRATES.iter().any(|ours| word.starts_with(ours));
            if is_plain && !is_ours && word.parse::<LevelFilter>().is_err() {
                return Err(format!(
                    "`{word}` is no level; of a module it is written module=level"
                ));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// How many threads serve: as many as the setting says, else half of the machine's cores.
/// The other program and Redis run beside this one as a rule. A thread for each core would
/// only wait for them, and be woken for nothing.
pub fn workers(setting: Option<u16>) -> usize {
    setting.map_or_else(
        || std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
        usize::from,
    )
}

/// Parses a duration such as `24h`, `90m`, `3s` or `500ms`, from 100 ms to 365 days.
///
/// # Errors
///
/// What a duration must look like.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (shortest, longest) = DURATIONS;
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| (shortest..=longest).contains(duration))
        .ok_or_else(|| "must be a number with ms, s, m, h or d, from 100ms to 365d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Settings {
        #[arg(long, env = "TEST_ONLY_PORT")]
        port: Option<u16>,
        #[arg(long, env = "TEST_ONLY_SECRET", hide_env_values = true)]
        secret: Option<u16>,
        #[command(flatten)]
        log: LogSettings,
    }

    fn read(flags: &[&str]) -> Result<Settings, SettingsError> {
        parse([&["program"], flags].concat())
    }

    #[test]
    fn a_bad_value_is_told_in_one_line_that_names_the_variable() {
        for (flags, line) in [
            (
                ["--port", "x"],
                "TEST_ONLY_PORT \"x\": invalid digit found in string",
            ),
            (
                ["--log-format", "xml"],
                "LOG_FORMAT \"xml\": must be one of text, json",
            ),
            (
                ["--rust-log", "inof"],
                "RUST_LOG \"inof\": `inof` is no level; of a module it is written module=level",
            ),
        ] {
            assert_eq!(read(&flags).unwrap_err().to_string(), line);
        }
        for filter in ["info,tonic", "a=b=c"] {
            let line = read(&["--rust-log", filter]).unwrap_err().to_string();
            assert!(
                line.starts_with("RUST_LOG") && !line.contains('\n'),
                "{line}"
            );
        }
    }

    #[test]
    fn a_flag_that_does_not_exist_is_told_in_one_line() {
        let line = read(&["--prot", "1"]).unwrap_err().to_string();
        assert_eq!(line, "unexpected argument '--prot' found");
    }

    #[test]
    fn a_secret_value_is_not_repeated() {
        let line = read(&["--secret", "hunter2"]).unwrap_err().to_string();
        assert!(line.starts_with("TEST_ONLY_SECRET: "), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
    }

    #[test]
    fn a_request_for_help_is_no_error() {
        for flag in ["--help", "-h"] {
            assert!(matches!(read(&[flag]), Err(SettingsError::Asked(_))));
        }
    }

    #[test]
    fn durations_have_a_unit_and_bounds() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("90m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        for bad in [
            "",
            "24",
            "0s",
            "s",
            "-1s",
            "99999999999999999999h",
            "366d",
            "99ms",
            "soon",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
