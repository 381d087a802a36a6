//! An API server that is rude: says GOAWAY all the time, refuses with 429, or takes a request and never answers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::task::JoinSet;

use super::parts::client::{HubClient, answers, block_on};
use super::parts::origin::{Book, Manners, Origin};
use super::rows::Outcome;
use super::world::World;

/// Requests at once: well above those that the agent sends over HTTP/1.1 (`defaults::UPSTREAM_SHORT_H1`), which knows no GOAWAY.
const AT_ONCE: usize = 200;

pub(super) fn goaway(world: &mut World) -> Result<Outcome> {
    let origin = Origin::start(Manners { goaway_after: Some(Duration::from_millis(60)), drop_one_of: None })?;
    let stand_in = world.start_stand_in("goaway", &origin)?;
    let client = world.client()?;
    answers(&client, &stand_in.name, Duration::from_secs(20))?;
    let path = format!("/clusters/{}/api/v1/namespaces/default/configmaps/x", stand_in.name);
    let (right, wrong) = block_on(async {
        let until = Instant::now() + Duration::from_secs(3);
        let mut tasks = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (client, path) = (client.clone(), path.clone());
            tasks.spawn(async move { reads(&client, &path, until).await });
        }
        let (mut right, mut wrong) = (0_u64, Vec::new());
        while let Some(one) = tasks.join_next().await {
            let (some, failed) = one??;
            right += some;
            wrong.extend(failed);
        }
        Ok((right, wrong))
    })?;
    let goaways = origin.book.lock().map_err(|_| anyhow!("the book is lost"))?.goaways;
    let first = wrong.first().map_or_else(String::new, |first| format!(" (first: {first})"));
    let text =
        format!("{right} reads right, {} failed{first}, over {goaways} connections that were told GOAWAY", wrong.len());
    Ok(Outcome::of(wrong.is_empty() && goaways > 10, text))
}

/// Reads, one after the other, until it is time; how many were right, and what the others said.
async fn reads(client: &HubClient, path: &str, until: Instant) -> Result<(u64, Vec<String>)> {
    let mut sender = client.http2().await?;
    let (mut right, mut wrong) = (0, Vec::new());
    while Instant::now() < until {
        sender.ready().await?;
        let response = sender.send_request(client.request(Method::GET, path, "")).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status == StatusCode::OK {
            right += 1;
        } else {
            wrong.push(format!("{status} {}", String::from_utf8_lossy(&body)));
        }
    }
    Ok((right, wrong))
}

pub(super) fn too_many(world: &mut World) -> Result<Outcome> {
    let client = world.client()?;
    let name = &world.stand_ins(1)?[0].name;
    let path = format!("/clusters/{name}/api/v1/namespaces/default/configmaps/x?status=429");
    let answer = block_on(client.get(&path))?;
    let retry = answer.headers.get("retry-after").and_then(|value| value.to_str().ok()).unwrap_or("none");
    let own = String::from_utf8_lossy(&answer.body).contains("stand-in");
    let held = answer.status == StatusCode::TOO_MANY_REQUESTS && retry == "7" && own;
    Ok(Outcome::of(held, format!("{} with Retry-After {retry}, the API server's own body: {own}", answer.status)))
}

pub(super) fn hang(world: &mut World) -> Result<Outcome> {
    let (client, quick) = (world.client()?, world.quick);
    let book = world.origin.book.clone();
    let name = world.stand_ins(1)?[0].name.clone();
    let path = format!("/clusters/{name}/api/v1/namespaces/default/configmaps/x?hang=1");
    let before = hanging(&book)?;
    let (gone, others) = block_on(async {
        let mut sender = client.http2().await?;
        let request = sender.send_request(client.request(Method::GET, &path, ""));
        let mut request = Box::pin(request);
        let arrived = async {
            while hanging(&book)? == before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok::<_, anyhow::Error>(())
        };
        tokio::select! {
            _ = &mut request => return Err(anyhow!("it was answered")),
            arrived = tokio::time::timeout(Duration::from_secs(5), arrived) => arrived??,
        }
        let others = Instant::now();
        ensure!(client.get(&format!("/clusters/{name}/version")).await?.status == 200, "others are not served");
        let others = others.elapsed();
        // The client goes away: the API server must learn of it.
        drop((request, sender));
        let left = Instant::now();
        while hanging(&book)? > before {
            ensure!(left.elapsed() < Duration::from_secs(5), "the API server was not told that the client went away");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok((left.elapsed(), others))
    })?;
    let mut text = format!(
        "others are served in {others:.0?}; a client that goes away is gone at the API server after {gone:.0?}"
    );
    let mut held = gone < Duration::from_secs(1);
    if !quick {
        let (late, message) = block_on(late(&client, &path))?;
        text.push_str(&format!("; one that waits gets 504 after {:.0} s: {message}", late.as_secs_f32()));
        held &= late < Duration::from_secs(75) && message.contains("no answer within");
    }
    Ok(Outcome::of(held, text))
}

async fn late(client: &HubClient, path: &str) -> Result<(Duration, String)> {
    let started = Instant::now();
    let answer =
        tokio::time::timeout(Duration::from_secs(90), client.get(path)).await.context("no answer at all")??;
    ensure!(answer.status == StatusCode::GATEWAY_TIMEOUT, "{}", answer.status);
    let body: Value = serde_json::from_slice(&answer.body)?;
    Ok((started.elapsed(), body["message"].as_str().unwrap_or_default().to_owned()))
}

fn hanging(book: &Arc<Mutex<Book>>) -> Result<usize> {
    Ok(book.lock().map_err(|_| anyhow!("the book is lost"))?.hanging)
}
