//! Each command against a hub: what it asks, what it prints, how it exits.

use super::*;

fn cluster(name: &str) -> Value {
    json!({"name": name, "uid": "01u", "labels": {"env": "prod"}, "state": "enrolled", "connected": true,
        "created": "2026-01-02T03:04:05Z", "agentVersion": "0.1.0\u{1b}[31m"})
}

fn created() -> Value {
    json!({"name": "edge-1", "uid": "01u", "token": "rsj_secret", "tokenExpires": "2026-11-22T20:00:00Z",
        "hub": "https://hub:8443", "hubCaPin": "sha256:00"})
}

fn token() -> Value {
    json!({"id": "abcdefghij", "user": "alice", "groups": ["sre"], "admin": false,
        "created": "2026-01-02T03:04:05Z", "expires": "2999-01-02T03:04:05Z", "token": "rst_secret"})
}

#[test]
fn cluster_add_prints_a_manifest_and_hints_apart() {
    let line = "cluster add edge-1 --label env=prod --label tier=1 --ttl 30m --allow-group dev";
    let (ran, asked) = against(line, 201, created());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        (asked[0].line.as_str(), asked[0].authorization.as_str()),
        ("POST /api/v1/clusters", "Bearer jwt.of.admin")
    );
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(body, json!({"name": "edge-1", "labels": {"env": "prod", "tier": "1"}, "ttlSeconds": 1800}));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&ran.out).unwrap();
    assert_eq!(documents[2]["rules"][1]["resourceNames"][2], "dev");
    assert!(ran.err.contains("kubectl apply -f -") && !ran.err.contains("rsj_"), "{}", ran.err);
}

#[test]
fn cluster_add_as_json_has_the_fields_of_the_contract() {
    let (ran, _) = against("cluster add edge-1 -o json --image reg/agent:2 --namespace fleet", 201, created());
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    for (field, expected) in created().as_object().unwrap() {
        assert_eq!(value[field], *expected, "{field}");
    }
    let manifest = value["manifest"].as_str().unwrap();
    assert!(manifest.contains("\"reg/agent:2\"") && manifest.contains("\"fleet/roadstead-agent-state\""));
}

#[test]
fn cluster_list_and_show_print_for_people_and_for_scripts() {
    let list = json!({"items": [cluster("a"), cluster("long-name")]});
    let (ran, asked) = against("cluster list", 200, list.clone());
    assert_eq!(asked[0].line, "GET /api/v1/clusters");
    let lines: Vec<_> = ran.out.lines().collect();
    assert!(lines[0].starts_with("NAME        STATE      LINK        LABELS     AGE"), "{}", ran.out);
    assert!(lines[2].starts_with("long-name   enrolled   connected   env=prod   "), "{}", ran.out);
    let (ran, _) = against("cluster list --output json", 200, list);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["items"][1]["name"], "long-name");
    let (ran, asked) = against("cluster show a", 200, cluster("a"));
    assert_eq!(asked[0].line, "GET /api/v1/clusters/a");
    assert!(ran.out.contains("uid:               01u\n"), "{}", ran.out);
    assert!(ran.out.contains("0.1.0\u{fffd}[31m"), "what an agent says cannot steer the terminal");
}

#[test]
fn removing_and_revoking_name_the_thing_in_the_path() {
    let (ran, asked) = against("cluster remove edge-1", 200, json!({}));
    assert_eq!((ran.code, asked[0].line.as_str(), ran.out.as_str()), (0, "DELETE /api/v1/clusters/edge-1", ""));
    let (ran, asked) = against("token revoke abcdefghij -o json", 200, json!({}));
    assert_eq!((ran.code, asked[0].line.as_str()), (0, "DELETE /api/v1/tokens/abcdefghij"));
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), json!({"id": "abcdefghij", "revoked": true}));
}

#[test]
fn token_create_prints_the_token_alone() {
    let (ran, asked) = against("token create alice --group sre --ttl 1d", 201, token());
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(body, json!({"user": "alice", "groups": ["sre"], "admin": false, "ttlSeconds": 86400}));
    assert_eq!(ran.out, "rst_secret\n");
    assert!(ran.err.contains("abcdefghij") && !ran.err.contains("rst_"), "{}", ran.err);
    let (ran, _) = against("token create alice -o json", 201, token());
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), token());
}

#[test]
fn token_list_never_shows_secrets() {
    let (ran, _) = against("token list", 200, json!({"items": [token()]}));
    assert!(ran.out.contains("abcdefghij   alice   sre      no      in "), "{}", ran.out);
    let (json, _) = against("token list -o json", 200, json!({"items": [token()]}));
    assert!(!ran.out.contains("rst_") && !json.out.contains("rst_"));
}

#[test]
fn status_and_version_tell_both_sides() {
    let answer = json!({"version": "9.9.9", "hub": "https://hub:8443", "started": "2026-01-02T03:04:05Z",
        "clusters": {"total": 3, "connected": 2}});
    let (ran, asked) = against("status", 200, answer.clone());
    assert_eq!(asked[0].line, "GET /api/v1/status");
    assert!(ran.out.contains("2 connected of 3") && ran.out.contains("9.9.9"), "{}", ran.out);
    assert_eq!(ran.err, "");
    let (ran, _) = against("status -o json", 200, answer.clone());
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), answer);
    let mut restored = answer;
    restored["restored"] = json!({"backupMade": "2026-01-02T03:04:05Z", "restoredAt": "2026-01-03T03:04:05Z"});
    let (ran, _) = against("status", 200, restored);
    assert!(ran.err.contains("from a backup of 2026-01-02") && ran.err.contains("restore-acknowledge"), "{}", ran.err);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(roadstead("version", &[]).out, format!("roadstead {version}\n"));
    let json: Value = serde_json::from_str(&roadstead("version -o json", &[]).out).unwrap();
    assert_eq!(json, json!({"version": version}));
}

#[test]
fn a_backup_is_written_privately_and_whole_or_not_at_all() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.backup");
    let line = format!("hub backup --to {}", path.display());
    let (ran, asked) = against(&line, 200, json!("sealed"));
    assert_eq!((ran.code, asked[0].line.as_str(), ran.out.as_str()), (0, "POST /api/v1/backup", ""), "{}", ran.err);
    assert_eq!(std::fs::read(&path).unwrap(), b"\"sealed\"");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let (ran, _) = against(&line, 422, json!({"message": "start it with --seal-key FILE"}));
    assert!(ran.code == 1 && ran.err.contains("--seal-key FILE"), "{}", ran.err);
    assert_eq!(std::fs::read(&path).unwrap(), b"\"sealed\"");
}

#[test]
fn a_restore_says_what_is_missing_or_refused_and_by_which_code() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none").display().to_string();
    let rows = [
        ("hub restore --from x".to_owned(), 2, "--seal-key FILE"),
        ("hub restore --data d --seal-key k".to_owned(), 2, "--from"),
        ("hub backup".to_owned(), 2, "--to"),
        (format!("hub restore --data {none} --from {none} --seal-key {none}"), 1, "cannot read the passphrase"),
    ];
    for (line, code, said) in rows {
        let ran = roadstead(&line, &[]);
        assert!(ran.code == code && ran.err.contains(said), "{line}: {} {}", ran.code, ran.err);
    }
}

#[test]
fn completion_is_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(roadstead(&format!("completion {shell}"), &[]).out.contains("kubeconfig"), "{shell}");
    }
}

#[test]
fn kubeconfig_is_printed_or_merged_with_an_exec_plugin_and_no_token() {
    let hub = FakeHub::start(200, json!({"items": [cluster("b"), cluster("a")]}).to_string().into_bytes());
    let folder = tempfile::tempdir().unwrap();
    let config = hub.client_config(folder.path());
    let env = [("ROADSTEAD_CONFIG", config.as_str())];
    let ran = roadstead("kubeconfig --context-prefix fleet-", &env);
    let value = super::super::yaml::read(&ran.out, "").unwrap();
    assert_eq!(value["contexts"][1]["name"], "fleet-b");
    assert_eq!(value["clusters"][0]["cluster"]["server"], format!("https://{}/clusters/a", hub.address));
    let exec = &value["users"][0]["user"]["exec"];
    assert_eq!((&exec["args"], &exec["interactiveMode"]), (&json!(["credential"]), &json!("Never")));
    assert_eq!(exec["env"], json!([{"name": "ROADSTEAD_CONFIG", "value": config}]));
    assert!(!ran.out.contains("jwt"), "no token is stored");
    let path = folder.path().join("not/yet/kubeconfig");
    let line = format!("kubeconfig --cluster a --file {}", path.display());
    assert_eq!(roadstead(&line, &env).code, 0);
    let first = std::fs::metadata(&path).unwrap();
    assert_eq!(roadstead(&line, &env).code, 0);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), first.ino(), "nothing new is not written");
    assert_eq!(first.mode() & 0o777, 0o600);
    assert_eq!(roadstead("kubeconfig --cluster zzz", &env).code, 3);
    std::fs::write(path.with_extension("lock"), "").unwrap();
    assert_eq!(roadstead(&line, &env).code, 5);
}

#[test]
fn the_systems_cas_are_used_when_asked_for_and_not_copied_into_a_kubeconfig() {
    let hub = FakeHub::start(200, json!({"items": [cluster("a")]}).to_string().into_bytes());
    let folder = tempfile::tempdir().unwrap();
    let (roots, config) = (folder.path().join("roots.pem"), hub.client_config(folder.path()));
    let url = format!("https://{}", hub.address);
    let base =
        [("SSL_CERT_FILE", roots.to_str().unwrap()), ("ROADSTEAD_HUB", &url), ("ROADSTEAD_TOKEN", "jwt.of.admin")];
    std::fs::write(&roots, &hub.ca).unwrap();
    let by_flag = roadstead("kubeconfig --hub-ca system", &base);
    assert_eq!(by_flag.code, 0, "{}", by_flag.err);
    assert!(!by_flag.out.contains("certificate-authority-data"), "{}", by_flag.out);
    let with = |env: (&'static str, &str)| roadstead("kubeconfig", &[&base[..], &[env]].concat());
    assert!(with(("ROADSTEAD_CONFIG", &config)).out.contains("certificate-authority-data"));
    let file = folder.path().join("system.yaml");
    std::fs::write(&file, "caData: system\n").unwrap();
    assert_eq!(with(("ROADSTEAD_CONFIG", file.to_str().unwrap())).code, 0);
    std::fs::write(&roots, &FakeHub::start(200, Vec::new()).ca).unwrap();
    assert_eq!(roadstead("kubeconfig --hub-ca system", &base).code, 6, "another CA");
    std::fs::remove_file(&roots).unwrap();
    let none = roadstead("kubeconfig --hub-ca system", &base);
    assert!(none.code == 2 && none.err.contains("roots.pem"), "{} {}", none.code, none.err);
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let says = |message: &str| json!({"kind": "Status", "message": message, "reason": "R"});
    let rows = [
        (401, "token expired", 4),
        (403, "not an admin", 4),
        (404, "no cluster edge-1", 3),
        (409, "edge-1 exists", 5),
        (400, "bad label", 1),
        (429, "slow down", 1),
        (503, "draining", 1),
    ];
    for (status, message, code) in rows {
        let (ran, _) = against("cluster show edge-1", status, says(message));
        assert_eq!(ran.code, code, "{status}");
        assert!(ran.err.contains(message), "{}", ran.err);
    }
    let (ran, _) = against("cluster show edge-1", 502, json!("not a status"));
    assert!(ran.code == 1 && ran.err.contains("502"), "{}", ran.err);
}

#[test]
fn what_is_wrong_with_a_command_line_is_told_without_asking_the_hub() {
    let rows = [
        ("cluster add Edge_1 --label x --label a=b --label a=c --ttl 1x --namespace N --allow-group system:masters", 2),
        ("cluster add edge-1 --allow-user *", 2),
        ("token create alice --ttl 0s", 2),
        ("cluster show ../tokens", 3),
        ("cluster remove a/b", 3),
        ("token revoke rst_whole-token", 3),
        ("cluster", 2),
        ("frobnicate", 2),
        ("agent --state a --state-secret b/c", 2),
        ("hub", 2),
        ("status", 2),
        ("credential", 2),
    ];
    for (line, code) in rows {
        let ran = roadstead(line, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{line}: {}", ran.err);
    }
    let err = roadstead(rows[0].0, &[]).err;
    for fault in ["NAME", "\"x\" has no '='", "given twice", "--ttl", "--namespace", "system:"] {
        assert!(err.contains(fault), "{fault}: {err}");
    }
    assert!(!roadstead("token revoke rst_whole-token", &[]).err.contains("whole"));
}
