//! How the long-running commands log: to stderr, filtered by `ROADSTEAD_LOG`, as text or as JSON lines.

use std::{io::IsTerminal, str::FromStr};

use tracing_subscriber::EnvFilter;

use super::Context;
use super::failure::{Code, Failure};

/// Shape of log lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For collectors.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is not a log format: text or json")),
        }
    }
}

/// Starts logging for this process. `ROADSTEAD_LOG` takes the directives of `tracing-subscriber`, by default `info`.
pub(super) fn init(format: LogFormat, context: &Context<'_>) -> Result<(), Failure> {
    let directives = (context.env)("ROADSTEAD_LOG").unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| Failure::because(Code::Usage, error, format!("ROADSTEAD_LOG: {directives:?} is no filter")))?;
    // Colours are for terminals: in a file they are noise.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && (context.env)("NO_COLOR").is_none_or(|value| value.is_empty()));
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::new(Code::Failed, format!("logging cannot start: {error}")))
}
