//! `roadstead credential`: the exec plugin of kubectl. kubectl runs it for each command, so it opens no connection and starts
//! no runtime: it reads a variable or a file and prints an ExecCredential.

use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;

use super::Context;
use super::args::CredentialArgs;
use super::client_config;
use super::failure::{Code, Failure};
use super::output;
use super::units::timestamp;

const V1: &str = "client.authentication.k8s.io/v1";
const V1BETA1: &str = "client.authentication.k8s.io/v1beta1";

/// What of `KUBERNETES_EXEC_INFO` matters: the version that kubectl wants to be answered in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecInfo {
    api_version: String,
}

pub(super) fn run(args: &CredentialArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let version = wanted_version((context.env)("KUBERNETES_EXEC_INFO").as_deref())?;
    let found = client_config::find(args.client_config.as_deref(), context)?;
    let credential = client_config::credential(&found, context)?;
    let mut status = json!({"token": credential.token.expose()});
    if let Some(expires) = credential.expires {
        status["expirationTimestamp"] = json!(timestamp(expires));
        if expires <= OffsetDateTime::now_utc() {
            // The hub's clock decides; but its refusal alone would not tell the user what to do.
            let hint = format!(
                "warning: the token expired at {}; an admin makes a new one with `roadstead token create`",
                timestamp(expires)
            );
            output::hint(context, &hint);
        }
    }
    let answer = json!({"apiVersion": version, "kind": "ExecCredential", "status": status});
    output::line(context, &answer.to_string())
}

fn wanted_version(info: Option<&str>) -> Result<&'static str, Failure> {
    let Some(info) = info else { return Ok(V1) };
    let info: ExecInfo = serde_json::from_str(info)
        .map_err(|error| Failure::because(Code::Failed, error, "KUBERNETES_EXEC_INFO cannot be read"))?;
    match info.api_version.as_str() {
        V1 => Ok(V1),
        V1BETA1 => Ok(V1BETA1),
        other => Err(Failure::new(Code::Failed, format!("kubectl asks for {other:?}; {V1} is known"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::captured;
    use super::*;

    fn answer(file: &str, env: &[(&str, &str)]) -> (Result<(), Failure>, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.yaml");
        super::super::files::write_private(&path, file.as_bytes()).unwrap();
        captured(env, |context| run(&CredentialArgs { client_config: Some(path) }, context))
    }

    #[test]
    fn the_configured_token_is_printed_with_its_end() {
        let (result, out, err) = answer("token: jwt\ntokenExpires: 2999-01-02T03:04:05Z\n", &[]);
        result.unwrap();
        let value: Value = serde_json::from_str(&out).unwrap();
        let status = json!({"token": "jwt", "expirationTimestamp": "2999-01-02T03:04:05Z"});
        assert_eq!(value, json!({"apiVersion": V1, "kind": "ExecCredential", "status": status}));
        assert_eq!(err, "");
    }

    #[test]
    fn neither_hub_nor_ca_is_needed_and_the_variable_wins_without_an_end() {
        let (result, out, _) = answer("token: a\ntokenExpires: 2999-01-02T03:04:05Z\n", &[("ROADSTEAD_TOKEN", "b")]);
        result.unwrap();
        let value: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["status"], json!({"token": "b"}));
    }

    #[test]
    fn the_answer_is_of_the_version_that_was_asked_for() {
        let asked = |version: &str| {
            answer("token: a\n", &[("KUBERNETES_EXEC_INFO", &json!({"apiVersion": version}).to_string())])
        };
        for version in [V1, V1BETA1] {
            assert!(asked(version).1.contains(&format!("\"{version}\"")));
        }
        assert!(asked("client.authentication.k8s.io/v2").0.is_err());
    }

    #[test]
    fn an_ended_token_is_told_on_stderr_and_a_missing_one_is_a_usage_error() {
        let (result, out, err) = answer("token: a\ntokenExpires: 2001-01-02T03:04:05Z\n", &[]);
        assert!(result.is_ok() && out.contains("\"a\"") && err.contains("expired at 2001"), "{err}");
        let (result, out, _) = answer("hub: https://h\n", &[]);
        assert_eq!((result.unwrap_err().code(), out.as_str()), (Code::Usage, ""));
    }
}
