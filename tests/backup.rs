//! A hub is backed up while it serves, and restored elsewhere: clusters, tokens and links are as they were, and it says what is lost. Hub, agents
//! and commands are processes of this build; only the API server is a fake (`abuse/origin.rs`).
#![allow(
    clippy::disallowed_methods,
    reason = "tasks end with the runtime of their test, and processes outside are waited for in real time"
)]

#[path = "abuse/setting.rs"]
mod setting;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use origin::Origin;
use setting::{origin, raw, world};
use world::{Hub, Process, roadstead, until, write_private};

fn stdout(output: &Output) -> Value {
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}", said());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said()))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file of a passphrase, in a directory of its own.
fn passphrase() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("seal.key");
    write_private(&path, "correct horse battery staple\n");
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

/// Takes the key of the hub's root offline, into a file: how to bring it back.
fn root_offline(data: &Path, elsewhere: &Path, key: &str) -> [String; 6] {
    let (file, passphrase) = (elsewhere.join("root.hub"), elsewhere.join("root.key"));
    write_private(&passphrase, "a passphrase of its own\n");
    let [file, passphrase] = [file, passphrase].map(|path| path.to_str().unwrap().to_owned());
    let root = ["ca", "root"];
    let export = ["export", "--authority", "hub", "--to", &file, "--passphrase", &passphrase, "--seal-key"];
    let exported = stdout(&roadstead(data, &[&root[..], &export, &[key, "-o", "json"]].concat()));
    let bytes = fs::read(&file).unwrap();
    assert!(!bytes.windows(11).any(|part| part == b"PRIVATE KEY") && exported["authority"] == "hub", "{exported}");
    let again = roadstead(data, &[&root[..], &export, &[key]].concat());
    assert!(again.status.code() == Some(1) && fs::read(&file).unwrap() == bytes, "an export was replaced: {again:?}");
    let wrong = roadstead(data, &["ca", "root", "remove", &file, "--passphrase", key]);
    assert!(wrong.status.code() == Some(4) && !is_offline(data), "{wrong:?}");
    let removed = roadstead(data, &["ca", "root", "remove", &file, "--passphrase", &passphrase]);
    assert!(removed.status.success() && stderr(&removed).contains("ca root import"), "{removed:?}");
    assert!(is_offline(data));
    ["ca", "root", "import", &file, "--passphrase", &passphrase].map(str::to_owned)
}

fn is_offline(data: &Path) -> bool {
    let status = stdout(&roadstead(data, &["ca", "status", "-o", "json"]));
    let hub = status["authorities"].as_array().unwrap().iter().find(|one| one["authority"] == "hub").unwrap();
    hub["rootKeyOffline"].as_bool().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_restored_from_its_backup_has_its_clusters_tokens_and_links_and_warns_until_told() {
    let (elsewhere, key) = passphrase();
    let (mut hub, origin) = (Hub::start_with(&["--seal-key", &key], "info").await, Origin::start().await);
    let data = hub.dir.path().join("data");
    let agents = hub.dir.path().to_owned();
    hub.announce("held").await;
    let (announced, late) = (hub.announce("edge-1").await, hub.announce("edge-2").await);
    let _first = hub.spawn_agent("edge-1", &announced, &origin, "info");
    hub.connected("edge-1").await;
    let alice = hub.token("alice").await;
    let import = root_offline(&data, elsewhere.path(), &key);

    let backup = elsewhere.path().join("hub.backup");
    let to = backup.to_str().unwrap();
    let made = stdout(&roadstead(&data, &["hub", "backup", "--to", to, "-o", "json"]));
    assert_eq!(made["bytes"], fs::metadata(&backup).unwrap().len());
    let sealed = fs::read(&backup).unwrap();
    for clear in ["PRIVATE KEY", "edge-1", "token:alice"] {
        assert!(!sealed.windows(clear.len()).any(|part| part == clear.as_bytes()), "{clear} stands in the backup");
    }
    // After the backup: a certificate that it does not know, a cluster that it does not know, a token that is revoked.
    let _second = hub.spawn_agent("edge-2", &late, &origin, "info");
    hub.connected("edge-2").await;
    hub.announce("edge-3").await;
    let (_, tokens) = hub.api("GET", "/api/v1/tokens", &Value::Null).await;
    let id = tokens["items"].as_array().unwrap().iter().find(|token| token["user"] == "alice").unwrap()["id"].clone();
    let revoked = hub.api("DELETE", &format!("/api/v1/tokens/{}", id.as_str().unwrap()), &Value::Null).await;
    assert_eq!(revoked.0, 200);
    let address = hub.door.address.to_string();
    hub.process.end().await;

    let new = elsewhere.path().join("data");
    let (new_dir, restore) = (new.to_str().unwrap(), ["hub", "restore", "--from", to, "--seal-key", &key]);
    let restored =
        stdout(&roadstead(&data, &[&restore[..], &["--data", new_dir, "--lock", "held", "-o", "json"]].concat()));
    assert_eq!((&restored["grants"], &restored["locked"]), (&json!(true), &json!(["held"])));
    let again = roadstead(&data, &[&restore[..], &["--data", new_dir]].concat());
    assert!(again.status.code() == Some(5) && stderr(&again).contains("not empty"), "{}", stderr(&again));

    let flags = ["hub", "--data", new_dir, "--listen", &address, "--admin-listen", "127.0.0.1:0", "--seal-key", &key];
    let hub = Process::spawn("restored", &flags, "info", &agents);
    until("both links come back", || hub.said().matches("agent connected").count() >= 2).await;
    assert!(hub.said().contains("restored from a backup: what was done from "), "{}", hub.said());
    let clusters = stdout(&roadstead(&new, &["cluster", "list", "-o", "json"]));
    let shown: Vec<_> = clusters["items"].as_array().unwrap().iter().map(|c| (&c["name"], &c["connected"])).collect();
    assert_eq!(json!(shown), json!([["edge-1", true], ["edge-2", true], ["held", false]]));
    assert_eq!(clusters["items"][2]["state"], "locked", "{clusters}");
    let tokens = stdout(&roadstead(&new, &["token", "list", "-o", "json"])).to_string();
    assert!(tokens.contains("\"alice\""), "{tokens}");
    let asked = Command::new(env!("CARGO_BIN_EXE_roadstead"))
        .args(["cluster", "show", "edge-1"])
        .env("ROADSTEAD_CONFIG", new.join("admin.yaml"))
        .env("ROADSTEAD_TOKEN", &alice)
        .output()
        .unwrap();
    assert!(asked.status.success(), "a token of the backup does not work: {}", stderr(&asked));

    assert!(is_offline(&new));
    let import: Vec<_> = import.iter().map(String::as_str).collect();
    assert!(roadstead(&new, &import).status.success() && !is_offline(&new));

    let status = roadstead(&new, &["status"]);
    assert!(stderr(&status).contains("valid again") && stderr(&status).contains("restore-acknowledge"));
    let view = stdout(&roadstead(&new, &["hub", "restore-acknowledge", "-o", "json"]));
    assert!(view["backupMade"].is_string() && view["acknowledged"].is_string(), "{view}");
    assert_eq!(stderr(&roadstead(&new, &["status"])), "");
    assert!(hub.said().contains("restore acknowledged") && hub.said().contains("token:admin"), "{}", hub.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_not_whole_or_of_another_passphrase_restores_nothing_and_a_sealed_hub_needs_its_key() {
    let (elsewhere, key) = passphrase();
    let mut hub = Hub::start_with(&["--seal-key", &key], "info").await;
    let data = hub.dir.path().join("data");
    let (backup, new) = (elsewhere.path().join("hub.backup"), elsewhere.path().join("data"));
    let (to, new_dir) = (backup.to_str().unwrap(), new.to_str().unwrap());
    assert!(roadstead(&data, &["hub", "backup", "--to", to]).status.success());
    let alice = hub.token("alice").await;
    assert_eq!(hub.post("POST", "/api/v1/backup", &alice, "").await.status(), 403, "not an administrator");
    hub.process.end().await;

    let restore = |key: &str, from: &str| {
        roadstead(&data, &["hub", "restore", "--data", new_dir, "--from", from, "--seal-key", key])
    };
    let other = elsewhere.path().join("other.key");
    write_private(&other, "another passphrase\n");
    let wrong = restore(other.to_str().unwrap(), to);
    assert!(wrong.status.code() == Some(4) && stderr(&wrong).contains("does not open the backup"), "{wrong:?}");
    let whole = fs::read(&backup).unwrap();
    let cut = elsewhere.path().join("cut.backup");
    for bad in [&whole[..whole.len() - 1], &whole[..whole.len() / 2], &[&whole[..], b"x"].concat()] {
        fs::write(&cut, bad).unwrap();
        let refused = restore(&key, cut.to_str().unwrap());
        assert!(refused.status.code() == Some(1) && stderr(&refused).contains("damaged"), "{refused:?}");
    }
    assert!(!new.exists());

    let start = |more: &[&str]| {
        let usual =
            ["hub", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let output = roadstead(&data, &[&usual, more].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        stderr(&output)
    };
    assert!(start(&[]).contains("--seal-key FILE"), "{}", start(&[]));
    let wrong = start(&["--seal-key", other.to_str().unwrap()]);
    assert!(wrong.contains("other.key does not open the store"), "{wrong}");
}
