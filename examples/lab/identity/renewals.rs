//! Certificates that live for a minute, renewed again and again under requests and streams: none may fail or break, but for streams whose
//! link's certificate ended.

use std::time::Duration;

use anyhow::{Result, ensure};
use http::{Method, StatusCode};
use roadstead::hub::api_types::{CertificateList, CertificateState, CertificateView};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::site::{Site, World};
use super::streams::{Ends, Streams};
use super::traffic::Traffic;
use super::{Arguments, Found};

/// How often certificates are looked at: more often than any lives.
const LOOK: Duration = Duration::from_secs(5);

/// How often it is told how it goes.
const TELL: Duration = Duration::from_secs(30);

/// Of so many renewals in half an hour at 60 s of life the promise speaks: one each 72 s.
const EACH: f64 = 30.0 * 60.0 / 25.0 / 60.0;

pub(super) async fn run(world: &mut World, arguments: &Arguments) -> Result<Vec<Found>> {
    let ttl = format!("{}s", arguments.ttl);
    let mut site = world.site("renewals", usize::try_from(arguments.agents)?, &["--agent-cert-ttl", &ttl]).await?;
    let names: Vec<String> = site.agents.iter().map(|agent| agent.name.clone()).collect();
    let ends = Ends::default();
    look(&site, &ends).await?;
    let traffic = Traffic::start(site.door()?, &names, arguments.rate);
    let streams = Streams::start(&site, &names, &ends);
    streams.begun(names.len()).await?;
    let (started, length) = (Instant::now(), Duration::from_secs_f64(arguments.minutes() * 60.0));
    let mut told = Instant::now();
    while started.elapsed() < length {
        sleep(LOOK.min(length.saturating_sub(started.elapsed()))).await;
        look(&site, &ends).await?;
        site.check()?;
        if told.elapsed() > TELL {
            told = Instant::now();
            eprintln!("identity: [{:>4.0} s] {}; {}", started.elapsed().as_secs_f32(), traffic.text(), streams.text());
        }
    }
    let took = started.elapsed();
    let certificates = look(&site, &ends).await?;
    let (seen, tally) = (streams.stop().await?, traffic.stop().await?);
    let enough = tally.right as f64 > 0.9 * f64::from(arguments.rate) * took.as_secs_f64();
    let promise = "exec, logs -f and watch of each cluster: none ends but with its link's certificate, at that moment and in words";
    Ok(vec![
        renewed(&mut site, arguments, &renewals(&certificates, &names), took)?,
        Found::of(
            "requests",
            format!("{} a second: none fails", arguments.rate),
            tally.failures() == 0 && enough,
            tally.text(),
        ),
        Found::of("streams", promise, seen.broken() == 0 && seen.ended() > 0, seen.text()),
    ])
}

/// Whether every agent renewed as often as it should, and nothing else happened to any.
fn renewed(site: &mut Site, arguments: &Arguments, renewals: &[usize], took: Duration) -> Result<Found> {
    let lost: usize = site.agents.iter().map(|agent| agent.said("link lost")).sum::<Result<usize>>()?;
    let alerts = site.hub.metric("roadstead_identity_alerts_total")?;
    site.check()?;
    let least = (took.as_secs_f64() / (EACH * f64::from(arguments.ttl))).floor() as usize;
    let (min, max) = (renewals.iter().min().copied().unwrap_or(0), renewals.iter().max().copied().unwrap_or(0));
    let minutes = took.as_secs_f64() / 60.0;
    Ok(Found::of(
        "renewals",
        format!(
            "{} agents whose certificates live for {} s: at least {least} renewals each",
            renewals.len(),
            arguments.ttl
        ),
        min >= least && lost == 0 && alerts == 0.0,
        format!("{min} to {max} in {minutes:.1} min; {lost} links lost, {alerts} alerts"),
    ))
}

/// All certificates there are; `ends` learns of them.
async fn look(site: &Site, ends: &Ends) -> Result<Vec<CertificateView>> {
    let (status, body) = site.api(Method::GET, "/api/v1/certificates", &Value::Null).await?;
    ensure!(status == StatusCode::OK, "certificates: {status} {body}");
    let list: CertificateList = serde_json::from_value(body)?;
    if let Ok(mut ends) = ends.lock() {
        ends.clear();
        for certificate in &list.items {
            ends.entry(certificate.cluster.clone().unwrap_or_default()).or_default().push(certificate.not_after);
        }
    }
    Ok(list.items)
}

/// How many certificates of each cluster came into use after its first.
fn renewals(certificates: &[CertificateView], names: &[String]) -> Vec<usize> {
    let used = |c: &&CertificateView| !matches!(c.state, CertificateState::Next | CertificateState::Revoked);
    let of = |name: &String| certificates.iter().filter(|c| c.cluster.as_ref() == Some(name)).filter(used).count();
    names.iter().map(|name| of(name).saturating_sub(1)).collect()
}
