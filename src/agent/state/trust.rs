//! What the hub said of its roots, at rest: a document of its own beside the identity, for it outlives every key.

use zeroize::Zeroizing;

use super::{Place, State, StateError, file};
use crate::agent::trust::Told;

/// The name of the document, as a file and as a key of the Secret.
const DOCUMENT: &str = "trust.json";

impl State {
    /// What was kept; `None` when nothing was.
    pub(in crate::agent) async fn load_trust(&self) -> Result<Option<Told>, StateError> {
        let text = match &self.place {
            Place::File(identity) => {
                file::read(identity.with_file_name(DOCUMENT)).await?.document.map(|text| text.to_vec())
            }
            Place::Secret(secret) => secret.read_other(DOCUMENT).await?,
        };
        // Never a fresh start: with the roots of the settings, which may be distrusted, it would be one.
        text.map(|bytes| serde_json::from_slice(&bytes).map_err(StateError::Trust)).transpose()
    }

    /// Keeps it. When this returns it survives a crash; before, what was kept before does.
    pub(in crate::agent) async fn save_trust(&self, told: &Told) -> Result<(), StateError> {
        let text = serde_json::to_vec_pretty(told)?;
        match &self.place {
            Place::File(identity) => file::replace(identity.with_file_name(DOCUMENT), Zeroizing::new(text)).await,
            Place::Secret(secret) => secret.write_other(DOCUMENT, text).await,
        }
    }
}
