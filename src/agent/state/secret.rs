//! The document in a Secret, by server-side apply of that one field, on the condition that the Secret is still the one that was seen.

use http::StatusCode;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use zeroize::Zeroizing;

use super::{DOCUMENT, Held, StateError, Written};

/// Who owns the field, in the Secret's `managedFields`.
const MANAGER: &str = "roadstead-agent";

/// One Secret, which must exist: an agent may not make one.
pub(super) struct InSecret {
    api: Api<Secret>,
    namespace: String,
    name: String,
}

impl InSecret {
    pub(super) fn new(client: &kube::Client, namespace: &str, name: &str) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        Self { api, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(super) async fn read(&self) -> Result<Held, StateError> {
        Ok(held(self.get().await?))
    }

    /// Writes `text`, if the Secret still is what was `seen`.
    pub(super) async fn write(&self, seen: &Held, text: &Zeroizing<Vec<u8>>) -> Result<Written, StateError> {
        // With a resourceVersion in it, an apply is refused (409) when the object has another one by now.
        let change = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.name, "namespace": self.namespace, "resourceVersion": seen.version},
            "data": {DOCUMENT: ByteString(text.to_vec())},
        });
        // By force: a document that was written by an older agent, without apply, belongs to "somebody else" although it is ours.
        let how = PatchParams::apply(MANAGER).force();
        match self.api.patch(&self.name, &how, &Patch::Apply(&change)).await {
            Ok(secret) => Ok(Written::Yes(held(secret))),
            Err(error) if has_code(&error, StatusCode::CONFLICT) => Ok(Written::Changed),
            // A role of before: it may update, but not patch.
            Err(error) if has_code(&error, StatusCode::FORBIDDEN) => self.replace(seen, text).await,
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn replace(&self, seen: &Held, text: &Zeroizing<Vec<u8>>) -> Result<Written, StateError> {
        let mut secret = self.get().await?;
        secret.metadata.resource_version.clone_from(&seen.version);
        secret.data.get_or_insert_default().insert(DOCUMENT.to_owned(), ByteString(text.to_vec()));
        match self.api.replace(&self.name, &PostParams::default(), &secret).await {
            Ok(secret) => Ok(Written::Yes(held(secret))),
            Err(error) if has_code(&error, StatusCode::CONFLICT) => Ok(Written::Changed),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Another document of the Secret.
    pub(super) async fn read_other(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.get().await?.data.unwrap_or_default().remove(name).map(|bytes| bytes.0))
    }

    /// Writes another document of the Secret; an error when somebody changed the Secret at the same moment.
    pub(super) async fn write_other(&self, name: &str, text: Vec<u8>) -> Result<(), StateError> {
        let mut secret = self.get().await?;
        secret.data.get_or_insert_default().insert(name.to_owned(), ByteString(text));
        // The resourceVersion that was read goes back with it.
        let replaced = self.api.replace(&self.name, &PostParams::default(), &secret).await;
        replaced.map(drop).map_err(|error| self.failed(error))
    }

    async fn get(&self) -> Result<Secret, StateError> {
        self.api.get(&self.name).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, source: kube::Error) -> StateError {
        StateError::Secret { name: format!("{}/{}", self.namespace, self.name), source: Box::new(source) }
    }
}

fn held(secret: Secret) -> Held {
    let document = secret.data.unwrap_or_default().remove(DOCUMENT).map(|bytes| Zeroizing::new(bytes.0));
    Held { version: secret.metadata.resource_version, document }
}

fn has_code(error: &kube::Error, code: StatusCode) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code.as_u16())
}
