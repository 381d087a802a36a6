//! The files in `--data` that others read: where the hub listens, its CAs, and the first administrator's configuration.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use time::OffsetDateTime;

use super::{Hub, RunError};
use crate::{
    defaults,
    identity::{AuthorityKind, HubUrl},
};

/// Makes the data directory, for its owner only.
pub(in crate::hub) fn prepare(data: &Path) -> io::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.and_then(|()| fs::set_permissions(data, fs::Permissions::from_mode(0o700)))
}

/// Writes what others need to find and trust this hub.
pub(super) async fn publish(
    hub: &Arc<Hub>,
    data: &Path,
    address: SocketAddr,
    admin: Option<SocketAddr>,
) -> Result<(), RunError> {
    let at = |name: &str, source: io::Error| RunError::File { path: data.join(name).display().to_string(), source };
    let write = |name: &str, text: &str, mode: u32| write(&data.join(name), text, mode).map_err(|e| at(name, e));
    publish_trust(hub)?;
    if !data.join("admin.yaml").exists() {
        let ttl = time::Duration::try_from(defaults::FIRST_ADMIN_TOKEN).unwrap_or(time::Duration::DAY);
        let now = OffsetDateTime::now_utc();
        let (_, token) = hub.directory.create_token("admin".to_owned(), Vec::new(), true, ttl, now).await?;
        let ca = hub.pki.keys().roots_pem(AuthorityKind::Hub);
        write("admin.yaml", &client(&hub.public_url, &ca, token.reveal().expose()), 0o600)?;
    }
    let endpoints = serde_json::json!({
        "url": hub.public_url.to_string(),
        "listen": address.to_string(),
        "admin": admin.map(|a| a.to_string()),
    });
    write("endpoints.json", &format!("{endpoints}\n"), 0o644)
}

/// Writes the roots that are trusted now, where others read them: at the start, and with each step of a rotation.
pub(in crate::hub) fn publish_trust(hub: &Hub) -> Result<(), RunError> {
    let keys = hub.pki.keys();
    let write = |name: &str, text: &str, mode: u32| {
        let path = hub.data.join(name);
        write(&path, text, mode).map_err(|source| RunError::File { path: path.display().to_string(), source })
    };
    let hub_ca = keys.roots_pem(AuthorityKind::Hub);
    write("hub-ca.pem", &hub_ca, 0o644)?;
    write("agents-ca.pem", &keys.roots_pem(AuthorityKind::Agents), 0o644)?;
    // The one client whose configuration is here follows by itself, if it still is as the hub wrote it.
    match fs::read_to_string(hub.data.join("admin.yaml")) {
        Ok(text) => match with_roots(&text, &hub_ca) {
            Some(changed) => write("admin.yaml", &changed, 0o600),
            None => Ok(()),
        },
        Err(_) => Ok(()),
    }
}

/// The configuration of the first administrator.
fn client(url: &HubUrl, ca: &str, token: &str) -> String {
    format!("hub: {url}\ncaData: |\n{}token: {token}\n", indented(ca))
}

fn indented(pem: &str) -> String {
    pem.lines().map(|line| format!("  {line}\n")).collect()
}

/// The same configuration with these roots; `None` when they are in it already, or somebody wrote it anew.
fn with_roots(text: &str, ca: &str) -> Option<String> {
    let (head, rest) = text.split_once("caData: |\n")?;
    let end = rest.find("token: ")?;
    let (old, tail) = rest.split_at(end);
    let new = indented(ca);
    (old != new && old.lines().all(|line| line.starts_with("  "))).then(|| format!("{head}caData: |\n{new}{tail}"))
}

/// Whole or not at all: readers never see a part.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administrators_configuration_follows_the_roots_and_nothing_else_of_it_changes() {
        let url: HubUrl = "https://hub.example:8443".parse().unwrap();
        let text = client(&url, "A\nB\n", "rst_secret");
        assert_eq!(with_roots(&text, "A\nB\n"), None);
        assert_eq!(with_roots(&text, "C\n").unwrap(), client(&url, "C\n", "rst_secret"));
        for anew in ["hub: x\ncaData: PEM\ntoken: t\n", "caData: |\nA\ntoken: t\n", ""] {
            assert_eq!(with_roots(anew, "C\n"), None, "{anew}");
        }
    }
}
