//! How a command ends when it does not succeed: an exit code that scripts rely on, and one error chain for people.

use std::fmt;
use std::process::ExitCode;

/// Exit codes; part of the contract with scripts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Code {
    /// Something failed.
    Failed = 1,
    /// The command line or a configuration is wrong.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// The hub refused the credential or the act (401, 403).
    Denied = 4,
    /// It exists already, or changed meanwhile.
    Conflict = 5,
    /// No answer from the hub.
    Unreachable = 6,
    /// Clusters are not ready for what was asked (`ca`): the same again later may succeed.
    NotReady = 7,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    error: anyhow::Error,
}

impl Failure {
    /// A failure with a text of its own.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, error: anyhow::Error::msg(text.into()) }
    }

    /// A failure with a cause.
    pub fn because(code: Code, error: impl Into<anyhow::Error>, text: impl Into<String>) -> Self {
        Self { code, error: error.into().context(text.into()) }
    }

    /// Several things that are wrong with what the user wrote, all of them told.
    pub(super) fn usage(faults: &[String]) -> Self {
        match faults {
            [only] => Self::new(Code::Usage, only),
            several => Self::new(Code::Usage, format!("{} faults:\n  {}", several.len(), several.join("\n  "))),
        }
    }

    /// The exit code.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: Code::Failed, error }
    }
}
