//! `roadstead doctor`: what is wrong, one line each, and what to do. From where it runs: a person's machine, or that of an agent.

use std::fmt::Write;

use time::OffsetDateTime;

use super::Context;
use super::agent::settings as agent_settings;
use super::args::{DoctorAgentArgs, DoctorArgs, DoctorSide, PlainArgs};
use super::client::block_on;
use super::client_config;
use super::cluster::clock;
use super::defaults::{AGENT_GROUPS, TOKEN_ENDS_SOON};
use super::failure::{Code, Failure};
use super::output::{self, Format, shown};
use super::units::{rough, timestamp};
use crate::access::{DEFAULT_USER, SUBJECT_EXTRA};
use crate::agent::doctor::{Caller, Finding, Needed, Verdict, examine, examine_hub};
use crate::defaults::CLOCK_SKEW;
use crate::hub::api_types::{ClusterList, ClusterState, ClusterView, WhoAmI};
use crate::identity::HubTrust;

pub(super) fn run(args: DoctorArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    match args.side {
        Some(DoctorSide::Agent(args)) => agent(*args, context),
        None => person(&args.plain, context),
    }
}

/// The way of a person or script to the hub, and what the hub says of its clusters.
fn person(args: &PlainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(&args.client, context)?;
    let trust = HubTrust::from_pem(&settings.ca.pem)
        .map_err(|error| Failure::because(Code::Usage, error, "the hub's CA cannot be used"))?;
    let findings = block_on(&settings, async |client| {
        let way = examine_hub(&settings.hub, &trust, &Caller::Nobody).await;
        let reached = way.findings.iter().all(|finding| finding.check != "hub https" || finding.verdict == Verdict::Ok);
        let mut findings = way.findings;
        if !reached {
            findings.extend(["token", "clusters"].map(|check| Finding::skipped(check, "the hub is not reached")));
            return Ok(findings);
        }
        let now = OffsetDateTime::now_utc();
        findings.push(match client.get::<WhoAmI>("/api/v1/whoami").await {
            Ok(caller) => judge_token(&caller, now),
            Err(failure) => Finding::failed("token", failure.to_string(), "use a token that is valid"),
        });
        match client.get::<ClusterList>("/api/v1/clusters").await {
            Ok(list) => findings.extend([judge_clusters(&list.items, now), judge_clocks(&list.items)]),
            Err(failure) => findings.push(Finding::skipped("clusters", failure.to_string())),
        }
        Ok(findings)
    })?;
    print(&findings, args.output.output, context)
}

fn agent(args: DoctorAgentArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let (settings, _) = agent_settings(args.agent, context)?;
    let needed = Needed {
        users: vec![DEFAULT_USER.to_owned()],
        groups: AGENT_GROUPS.map(str::to_owned).to_vec(),
        extras: vec![SUBJECT_EXTRA.to_owned()],
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because(Code::Failed, error, "cannot start the runtime"))?;
    let findings = runtime.block_on(examine(&settings, &needed));
    print(&findings, args.output.output, context)
}

fn judge_token(caller: &WhoAmI, now: OffsetDateTime) -> Finding {
    let left = caller.expires - now;
    let found = format!("{}, until {} ({})", caller.subject, timestamp(caller.expires), rough(left));
    if left > TOKEN_ENDS_SOON {
        return Finding::ok("token", found);
    }
    Finding::failed("token", found, "get a new one soon: an admin makes it with `roadstead token create`")
}

/// Clusters that joined and are offline, and certificates that nobody renews.
fn judge_clusters(clusters: &[ClusterView], now: OffsetDateTime) -> Finding {
    let joined = || clusters.iter().filter(|cluster| cluster.state != ClusterState::Pending);
    let names = |wanted: &dyn Fn(&ClusterView) -> bool| {
        joined().filter(|cluster| wanted(cluster)).map(|cluster| cluster.name.as_str()).collect::<Vec<_>>()
    };
    let shut = |cluster: &ClusterView| matches!(cluster.state, ClusterState::Locked | ClusterState::Revoked);
    let ended = |cluster: &ClusterView| {
        cluster.state == ClusterState::Expired || cluster.certificate_expires.is_some_and(|ends| ends <= now)
    };
    let offline = names(&|cluster| !cluster.connected && !ended(cluster) && !shut(cluster));
    let expired = names(&|cluster| !cluster.connected && ended(cluster) && !shut(cluster));
    let shut = names(&shut);
    if offline.is_empty() && expired.is_empty() && shut.is_empty() {
        return Finding::ok("clusters", format!("{} joined, all connected", joined().count()));
    }
    let (mut found, mut remedy) = (Vec::new(), Vec::new());
    if !offline.is_empty() {
        found.push(format!("offline: {}", some(&offline)));
        remedy.push("run `roadstead doctor agent` where the agent runs".to_owned());
    }
    if !expired.is_empty() {
        found.push(format!("offline, and the certificate has ended: {}", some(&expired)));
        remedy.push("give the agent a new join token".to_owned());
    }
    if !shut.is_empty() {
        found.push(format!("locked or revoked: {}", some(&shut)));
        remedy.push("`roadstead cluster show NAME` says why, and what is next".to_owned());
    }
    Finding::failed("clusters", found.join("; "), remedy.join("; "))
}

/// Clocks of agents, as the hub saw them when their links came up.
fn judge_clocks(clusters: &[ClusterView]) -> Finding {
    let known = || clusters.iter().filter_map(|c| c.clock_ahead_seconds.map(|ahead| (c.name.as_str(), ahead)));
    let off = known().filter(|(_, ahead)| ahead.unsigned_abs() > CLOCK_SKEW.as_secs());
    let off: Vec<_> = off.map(|(name, ahead)| format!("{name} is {}", clock(ahead))).collect();
    if off.is_empty() {
        return match known().count() {
            0 if clusters.iter().all(|cluster| !cluster.connected) => {
                Finding::ok("cluster clocks", "no agent is connected")
            }
            0 => Finding::skipped("cluster clocks", "the agents are too old to say their time"),
            count => Finding::ok("cluster clocks", format!("{count} known, none is off by more than a minute")),
        };
    }
    let names: Vec<_> = off.iter().map(String::as_str).collect();
    Finding::failed("cluster clocks", some(&names), "set the clock of those machines by NTP")
}

/// The first few of many names.
fn some(names: &[&str]) -> String {
    const MOST: usize = 10;
    match names.len().checked_sub(MOST) {
        Some(more @ 1..) => format!("{} and {more} more", names[..MOST].join(", ")),
        _ => names.join(", "),
    }
}

/// One line each, and exit code 1 when something is not in order.
fn print(findings: &[Finding], format: Format, context: &mut Context<'_>) -> Result<(), Failure> {
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count();
    if format == Format::Json {
        output::json(context, &serde_json::json!({"ok": failed == 0, "checks": findings}))?;
    } else {
        let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { check, verdict, found, remedy } in findings {
            let verdict = match verdict {
                Verdict::Ok => "ok",
                Verdict::Failed => "WRONG",
                Verdict::Skipped => "-",
            };
            let remedy = remedy.as_ref().map(|remedy| format!(" → {remedy}")).unwrap_or_default();
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{verdict:5}  {check:width$}  {}", shown(&format!("{found}{remedy}")));
        }
        output::bytes(context, text.as_bytes())?;
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::new(Code::Failed, "1 thing is wrong")),
        several => Err(Failure::new(Code::Failed, format!("{several} things are wrong"))),
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::super::tests::captured;
    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-25 12:00 UTC);

    fn cluster(name: &str, connected: bool, ends: Option<OffsetDateTime>) -> ClusterView {
        let value = serde_json::json!({"name": name, "uid": "u", "state": "enrolled", "connected": connected,
            "created": "2026-01-02T03:04:05Z", "certificateExpires": ends.map(timestamp)});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn clusters_that_are_offline_are_named_with_what_to_do() {
        let (later, before) = (Some(NOW + Duration::HOUR), Some(NOW - Duration::HOUR));
        let pending: ClusterView =
            serde_json::from_value(serde_json::json!({"name": "new", "uid": "u", "state": "pending",
            "connected": false, "created": "2026-01-02T03:04:05Z"}))
            .unwrap();
        let fine = judge_clusters(&[cluster("a", true, later), pending], NOW);
        assert_eq!((fine.verdict, fine.found.as_str()), (Verdict::Ok, "1 joined, all connected"));
        let bad = [cluster("a", false, later), cluster("b", false, before), cluster("c", true, before)];
        let finding = judge_clusters(&bad, NOW);
        assert_eq!(finding.found, "offline: a; offline, and the certificate has ended: b");
        assert!(finding.remedy.unwrap().contains("doctor agent"));
        let mut locked = cluster("d", false, before);
        locked.state = ClusterState::Locked;
        assert_eq!(judge_clusters(&[locked], NOW).found, "locked or revoked: d");
        let many: Vec<_> = (10..30).map(|i| cluster(&format!("c{i}"), false, later)).collect();
        assert!(judge_clusters(&many, NOW).found.ends_with("c19 and 10 more"));
    }

    /// T097.
    #[test]
    fn clusters_whose_clock_is_off_are_named() {
        let with = |name: &str, ahead: Option<i64>| {
            let mut view = cluster(name, true, None);
            view.clock_ahead_seconds = ahead;
            view
        };
        let fine = judge_clocks(&[with("a", Some(60)), with("b", Some(-60)), with("old", None)]);
        assert_eq!((fine.verdict, fine.found.starts_with("2 known")), (Verdict::Ok, true));
        assert_eq!(judge_clocks(&[with("old", None)]).verdict, Verdict::Skipped);
        assert_eq!(judge_clocks(&[cluster("away", false, None)]).verdict, Verdict::Ok);
        let bad = judge_clocks(&[with("a", Some(601)), with("b", Some(-600)), with("c", Some(0))]);
        assert_eq!((bad.verdict, bad.remedy.is_some()), (Verdict::Failed, true));
        assert_eq!(bad.found, "a is 601 s ahead of the hub's, b is 600 s behind the hub's");
    }

    #[test]
    fn a_token_that_ends_soon_is_told() {
        let caller = |left| WhoAmI { subject: "token:alice".into(), groups: vec![], admin: false, expires: NOW + left };
        assert_eq!(judge_token(&caller(Duration::hours(8)), NOW).verdict, Verdict::Ok);
        assert_eq!(judge_token(&caller(Duration::minutes(5)), NOW).verdict, Verdict::Failed);
    }

    #[test]
    fn one_line_each_and_the_exit_code_says_whether_all_is_well() {
        let fine = [Finding::ok("clock", "fine"), Finding::skipped("token", "not\nlooked at")];
        let (result, out, _) = captured(&[], |context| print(&fine, Format::Text, context));
        assert!(result.is_ok());
        assert_eq!(out, "ok     clock  fine\n-      token  not\u{fffd}looked at\n");
        let bad = [Finding::failed("hub udp", "closed", "open it")];
        let (result, out, _) = captured(&[], |context| print(&bad, Format::Json, context));
        assert_eq!(result.unwrap_err().code(), Code::Failed);
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&value["ok"], &value["checks"][0]["remedy"]), (&false.into(), &"open it".into()));
    }
}
