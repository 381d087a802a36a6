//! The CAs that this system trusts, as one PEM text. Used only by those who ask for them.

use std::path::{Path, PathBuf};

use super::Context;
use super::failure::{Code, Failure};
use super::files;

/// Where systems keep them: Debian and Alpine, Fedora, SUSE, others.
const FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Reads them from `SSL_CERT_FILE`, or from the first of the usual files.
///
/// # Errors
/// When there is none, or it cannot be read.
pub(super) fn system(context: &Context<'_>) -> Result<String, Failure> {
    let named = (context.env)("SSL_CERT_FILE").map(PathBuf::from);
    let usual = || FILES.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned);
    let Some(path) = named.or_else(usual) else {
        let text = format!("this system's CAs are in none of {}: set SSL_CERT_FILE", FILES.join(", "));
        return Err(Failure::new(Code::Failed, text));
    };
    files::read(&path).map_err(|error| {
        Failure::because(Code::Failed, error, format!("cannot read this system's CAs {}", path.display()))
    })
}
