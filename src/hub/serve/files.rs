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
use crate::defaults;

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
    write("hub-ca.pem", &hub.pki.hub().root_pem(), 0o644)?;
    write("agents-ca.pem", &hub.pki.agents().root_pem(), 0o644)?;
    if !data.join("admin.yaml").exists() {
        let ttl = time::Duration::try_from(defaults::FIRST_ADMIN_TOKEN).unwrap_or(time::Duration::DAY);
        let now = OffsetDateTime::now_utc();
        let (_, token) = hub.directory.create_token("admin".to_owned(), Vec::new(), true, ttl, now).await?;
        let ca: String = hub.pki.hub().root_pem().lines().map(|line| format!("  {line}\n")).collect();
        let text = format!("hub: {}\ncaData: |\n{ca}token: {}\n", hub.public_url, token.reveal().expose());
        write("admin.yaml", &text, 0o600)?;
    }
    let endpoints = serde_json::json!({
        "url": hub.public_url.to_string(),
        "listen": address.to_string(),
        "admin": admin.map(|a| a.to_string()),
    });
    write("endpoints.json", &format!("{endpoints}\n"), 0o644)
}

/// Whole or not at all: readers never see a part.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(part, path)
}
