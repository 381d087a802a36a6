//! Text that must not be printed: zeroed on drop, shown as `***`, without `Display` or `Serialize`.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text: a token, or a private key in PEM. [`Secret::expose`] is the only way to its bytes, so that uses can be searched.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of `text`; copies made before are the caller's to erase.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Never pass it to a log, an error or a command line.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}
