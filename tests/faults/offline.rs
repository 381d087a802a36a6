//! Clusters that are not there, and people who may not: an answer at once, that kubectl shows.

#![allow(clippy::disallowed_methods, reason = "real time is measured")]

use std::collections::BTreeSet;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::client::{HubClient, block_on};
use crate::fleet::{EDGE_2, Fleet, Part, figure};
use crate::turn::fleet;

/// kubectl with a fresh discovery cache, or with the one that all share.
fn get_pods(fleet: &Fleet, cache: Option<&str>) -> Result<(Output, Duration)> {
    let mut command = fleet.kubectl("edge-2", &["get", "pods"]);
    if let Some(name) = cache {
        command.env("KUBECACHEDIR", fleet.file(name));
    }
    let started = Instant::now();
    let output = command.output()?;
    Ok((output, started.elapsed()))
}

fn offline_is_instant(stop: impl FnOnce(&mut Fleet) -> Result<()>, how: &str) -> Result<()> {
    let mut fleet = fleet();
    let (warm, _) = get_pods(&fleet, None)?;
    ensure!(warm.status.success(), "{warm:?}");
    stop(&mut fleet)?;
    for (name, cache) in [("cold", Some(how)), ("warm", None)] {
        let (output, took) = get_pods(&fleet, cache)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        figure(&format!("offline ({how}), {name} cache: {took:.2?}: {}", stderr.trim()));
        ensure!(!output.status.success() && took < Duration::from_secs(2), "{took:?} {output:?}");
        ensure!(stderr.contains("edge-2") && stderr.contains("last seen"), "{stderr}");
    }
    let client = HubClient::new(&fleet)?;
    let (answer, took) = block_on(async {
        let started = Instant::now();
        let answer = client.get("/clusters/edge-2/api/v1/namespaces/default/pods").await?;
        Ok((answer, started.elapsed()))
    })?;
    figure(&format!("offline ({how}): the hub answers {} after {took:.2?}", answer.status));
    ensure!(answer.status == 503 && took < Duration::from_secs(1), "{answer:?}");
    ensure!(!answer.headers.contains_key("retry-after"), "{answer:?}");
    Ok(())
}

#[test]
fn a_stopped_agent_is_reported_at_once_with_its_name_and_age() -> Result<()> {
    offline_is_instant(
        |fleet| {
            fleet.environment.ask_to_end(EDGE_2, Duration::from_secs(10));
            Ok(())
        },
        "agent stopped",
    )
}

#[test]
fn a_cluster_that_was_away_before_the_hub_started_has_an_age_too() -> Result<()> {
    let mut fleet = fleet();
    fleet.environment.ask_to_end(EDGE_2, Duration::from_secs(10));
    fleet.environment.ask_to_end(Part::Hub, Duration::from_secs(30));
    fleet.environment.start_again(Part::Hub)?;
    fleet.environment.wait_listening()?;
    // kubectl obeys Retry-After, if the hub expects the agent: only discovery is asked, which must not make it wait.
    let (output, took) = get_pods(&fleet, Some("hub started"))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    figure(&format!("offline (hub restarted), cold cache: {took:.2?}: {}", stderr.trim()));
    ensure!(!output.status.success() && took < Duration::from_secs(2), "{took:?} {output:?}");
    ensure!(stderr.contains("edge-2") && stderr.contains("last seen"), "{stderr}");
    Ok(())
}

/// A token of the hub for `groups`, and its id.
fn token(fleet: &Fleet, user: &str, group: &str, ttl: &str) -> Result<(String, String)> {
    let mut create = fleet.environment.operator();
    create.args(["token", "create", user, "--group", group, "--ttl", ttl, "--output", "json"]);
    let output = create.output()?;
    let created: Value =
        serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let field = |name: &str| created[name].as_str().map(str::to_owned).with_context(|| format!("{name} in {created}"));
    Ok((field("token")?, field("id")?))
}

/// What kubectl says as the holder of `token`, with a cold cache.
fn said(fleet: &Fleet, name: &str, cluster: &str, token: &str) -> Result<String> {
    let ca = fleet.file("hub/hub-ca.pem");
    let server = format!("{}/clusters/{cluster}", fleet.environment.url());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "it", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    let path = fleet.file(&format!("{name}.kubeconfig"));
    std::fs::write(&path, config.to_string())?;
    let mut command = fleet.kubectl("it", &["get", "pods"]);
    let started = Instant::now();
    let output = command.env("KUBECONFIG", path).env("KUBECACHEDIR", fleet.file(name)).output()?;
    let took = started.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    figure(&format!("{name}: {took:.2?}, {}: {stderr}", output.status));
    ensure!(!output.status.success() && took < Duration::from_secs(3), "{output:?}");
    Ok(stderr)
}

#[test]
fn every_refusal_is_its_own_and_kubectl_shows_it() -> Result<()> {
    let fleet = fleet();
    let (nobody, _) = token(&fleet, "nobody", "nothing", "1h")?;
    let (short, _) = token(&fleet, "short", "quickstart", "1s")?;
    let (gone, id) = token(&fleet, "gone", "quickstart", "1h")?;
    let revoke = fleet.environment.operator().args(["token", "revoke", &id]).output()?;
    ensure!(revoke.status.success(), "{revoke:?}");
    std::thread::sleep(Duration::from_millis(1_100));
    let (valid, _) = token(&fleet, "valid", "quickstart", "1h")?;
    let expected = [
        ("unknown", said(&fleet, "unknown", "edge-9", &valid)?, "Forbidden"),
        ("no-grant", said(&fleet, "no-grant", "edge-2", &nobody)?, "Forbidden"),
        ("expired", said(&fleet, "expired", "edge-2", &short)?, "expired"),
        ("revoked", said(&fleet, "revoked", "edge-2", &gone)?, "revoked"),
    ];
    for (name, text, word) in &expected {
        ensure!(text.contains(word), "{name}: {text}");
    }
    let distinct: BTreeSet<_> = expected.iter().map(|(_, text, _)| text).collect();
    ensure!(distinct.len() == expected.len(), "{expected:#?}");
    Ok(())
}

#[test]
fn an_unknown_cluster_and_one_that_is_not_granted_cannot_be_told_apart() -> Result<()> {
    let fleet = fleet();
    let (nobody, _) = token(&fleet, "curious", "nothing", "1h")?;
    let client = HubClient::new(&fleet)?.with_token(&nobody);
    for path in ["api", "api/v1/namespaces/default/pods", "apis/apps/v1/deployments?watch=1", "metrics", ""] {
        let (known, unknown) = block_on(async {
            let known = client.get(&format!("/clusters/edge-2/{path}")).await?;
            Ok((known, client.get(&format!("/clusters/edge-9/{path}")).await?))
        })?;
        let text = |answer: &crate::client::Answer| {
            let mut headers = answer.headers.clone();
            headers.remove("date");
            format!("{} {headers:?} {}", answer.status, String::from_utf8_lossy(&answer.body))
        };
        ensure!(known.status == 403, "{known:?}");
        ensure!(text(&known).replace("edge-2", "edge-9") == text(&unknown), "{known:?} {unknown:?}");
    }
    Ok(())
}
