//! `roadstead hub`: its settings, from flags, variables and file. Does not know what the hub does with them.

use std::path::PathBuf;

use serde::Deserialize;

use super::Context;
use super::args::HubArgs;
use super::defaults::{HUB_ADMIN_LISTEN, HUB_LISTEN};
use super::failure::Failure;
use super::layers::{Layers, Places, read_file};
use super::logging::{self, LogFormat};
use super::{service, units};
use crate::hub::{self, CertificateLife};

/// The configuration file as typed. Values are text, so that flag, variable and file mean the same.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HubFile {
    data: Option<String>,
    listen: Option<String>,
    admin_listen: Option<String>,
    public_url: Option<String>,
    grants: Option<String>,
    agent_cert_ttl: Option<String>,
    https_cert: Option<String>,
    https_key: Option<String>,
    seal_key: Option<String>,
    seal_key_old: Option<String>,
    log_format: Option<String>,
}

pub(super) fn run(args: HubArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let (settings, log_format) = settings(args, context)?;
    logging::init(log_format, context)?;
    service::run(|stop, reload| hub::run(settings, stop, reload)).map_err(Failure::from)
}

fn settings(args: HubArgs, context: &Context<'_>) -> Result<(hub::Settings, LogFormat), Failure> {
    let file: HubFile = read_file(args.config.as_deref())?;
    let mut layers = Layers::new(context, args.config);
    let place = |flag, given, env, field, filed| Places { flag: (flag, given), env, file: (field, filed) };
    let data = layers.given(place("--data", args.data, "ROADSTEAD_DATA", "data", file.data));
    let listen = layers.given(place("--listen", args.listen, "ROADSTEAD_LISTEN", "listen", file.listen));
    let admin = place("--admin-listen", args.admin_listen, "ROADSTEAD_ADMIN_LISTEN", "adminListen", file.admin_listen);
    let admin = layers.given(admin);
    let url =
        layers.given(place("--public-url", args.public_url, "ROADSTEAD_PUBLIC_URL", "publicUrl", file.public_url));
    let grants = layers.given(place("--grants", args.grants, "ROADSTEAD_GRANTS", "grants", file.grants));
    let life =
        place("--agent-cert-ttl", args.agent_cert_ttl, "ROADSTEAD_AGENT_CERT_TTL", "agentCertTtl", file.agent_cert_ttl);
    let life = layers.given(life);
    let cert = place("--https-cert", args.https_cert, "ROADSTEAD_HTTPS_CERT", "httpsCert", file.https_cert);
    let key = place("--https-key", args.https_key, "ROADSTEAD_HTTPS_KEY", "httpsKey", file.https_key);
    let (cert, key) = (layers.given(cert), layers.given(key));
    let seal = layers.given(place("--seal-key", args.seal_key, "ROADSTEAD_SEAL_KEY", "sealKey", file.seal_key));
    let old = place("--seal-key-old", args.seal_key_old, "ROADSTEAD_SEAL_KEY_OLD", "sealKeyOld", file.seal_key_old);
    let old = layers.given(old);
    let format = place("--log-format", args.log_format, "ROADSTEAD_LOG_FORMAT", "logFormat", file.log_format);
    let format = layers.given(format);

    let data = layers.required::<PathBuf>(data, "no data directory is set: use --data or ROADSTEAD_DATA");
    let listen = layers.parse_or(listen, HUB_LISTEN);
    let admin_listen = layers.parse_or(admin, HUB_ADMIN_LISTEN);
    let public_url = layers.parse(url);
    let grants = layers.parse(grants);
    let agent_certificate_life = layers.parse_by(life, certificate_life).unwrap_or_default();
    if let (None, Some(old)) = (&seal, &old) {
        layers
            .faults
            .push(format!("{}: the passphrase before needs the new one beside it: --seal-key FILE", old.place));
    }
    if let (Some(alone), None) | (None, Some(alone)) = (&cert, &key) {
        layers.faults.push(format!("{}: --https-cert and --https-key go together", alone.place));
    }
    let https = layers.parse(cert).zip(layers.parse(key)).map(|(cert, key)| hub::HttpsFiles { cert, key });
    let (seal_key, seal_key_old) = (layers.parse(seal), layers.parse(old));
    let log_format = layers.parse(format).unwrap_or_default();
    let settings = data.zip(listen).zip(admin_listen).map(|((data, listen), admin_listen)| hub::Settings {
        grants: grants.unwrap_or_else(|| data.join("grants.yaml")),
        data,
        listen,
        admin_listen,
        public_url,
        agent_certificate_life,
        https,
        seal_key,
        seal_key_old,
    });
    layers.finish(settings.map(|settings| (settings, log_format)))
}

fn certificate_life(text: &str) -> Result<CertificateLife, String> {
    let life = units::duration(text).map_err(|error| error.to_string())?;
    CertificateLife::try_from(life).map_err(|error| format!("{error}, not {text}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::with_env;
    use super::*;
    use crate::cli::Code;

    fn read(args: HubArgs, env: &[(&str, &str)]) -> Result<(hub::Settings, LogFormat), Failure> {
        with_env(env, |context| settings(args, context))
    }

    #[test]
    fn only_the_data_directory_must_be_said() {
        let found = read(HubArgs { data: Some("/d".into()), ..HubArgs::default() }, &[]).unwrap();
        let expected = hub::Settings {
            data: "/d".into(),
            listen: "0.0.0.0:8443".parse().unwrap(),
            admin_listen: "127.0.0.1:8444".parse().unwrap(),
            public_url: None,
            grants: "/d/grants.yaml".into(),
            agent_certificate_life: CertificateLife::default(),
            https: None,
            seal_key: None,
            seal_key_old: None,
        };
        assert_eq!(found, (expected, LogFormat::Text));
    }

    #[test]
    fn flag_wins_over_variable_over_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("hub.yaml");
        std::fs::write(&config, "data: /file\nlisten: 127.0.0.1:1\ngrants: /g\nlogFormat: json\n").unwrap();
        let args = HubArgs { data: Some("/flag".into()), config: Some(config), ..HubArgs::default() };
        let env = [("ROADSTEAD_DATA", "/env"), ("ROADSTEAD_LISTEN", "127.0.0.1:2")];
        let (found, format) = read(args, &env).unwrap();
        assert_eq!((found.data, found.listen.port(), found.grants), ("/flag".into(), 2, "/g".into()));
        assert_eq!(format, LogFormat::Json);
    }

    #[test]
    fn a_certificate_and_its_key_go_together() {
        let env = [("ROADSTEAD_DATA", "/d"), ("ROADSTEAD_HTTPS_CERT", "/crt")];
        let alone = read(HubArgs::default(), &env).unwrap_err().to_string();
        assert!(alone.contains("ROADSTEAD_HTTPS_CERT: "), "{alone}");
        let both = HubArgs { https_key: Some("/key".into()), ..HubArgs::default() };
        let files = hub::HttpsFiles { cert: "/crt".into(), key: "/key".into() };
        assert_eq!(read(both, &env).unwrap().0.https, Some(files));
    }

    #[test]
    fn a_passphrase_is_named_by_its_file_and_the_one_before_only_beside_it() {
        let env = [("ROADSTEAD_DATA", "/d"), ("ROADSTEAD_SEAL_KEY", "/new"), ("ROADSTEAD_SEAL_KEY_OLD", "/old")];
        let (found, _) = read(HubArgs::default(), &env).unwrap();
        assert_eq!((found.seal_key, found.seal_key_old), (Some("/new".into()), Some("/old".into())));
        let alone = HubArgs { data: Some("/d".into()), seal_key_old: Some("/old".into()), ..HubArgs::default() };
        assert!(read(alone, &[]).unwrap_err().to_string().contains("--seal-key-old: "));
    }

    #[test]
    fn a_certificate_lives_for_a_minute_to_thirty_days() {
        let with =
            |life: &str| HubArgs { data: Some("/d".into()), agent_cert_ttl: Some(life.into()), ..HubArgs::default() };
        for (life, seconds) in [("60s", 60), ("1h", 3600), ("30d", 2_592_000)] {
            let (found, _) = read(with(life), &[]).unwrap();
            assert_eq!(Duration::from(found.agent_certificate_life).as_secs(), seconds);
        }
        for life in ["59s", "30d1s", "1", ""] {
            let text = read(with(life), &[]).unwrap_err().to_string();
            assert!(text.contains("--agent-cert-ttl: "), "{text}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once_each_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("hub.yaml");
        std::fs::write(&config, "logFormat: xml\n").unwrap();
        let args = HubArgs { listen: Some("8443".into()), config: Some(config.clone()), ..HubArgs::default() };
        let failure = read(args, &[("ROADSTEAD_PUBLIC_URL", "http://h")]).unwrap_err();
        let text = failure.to_string();
        let format = format!("{}: logFormat: \"xml\"", config.display());
        for expected in ["--data", "--listen: invalid socket", "ROADSTEAD_PUBLIC_URL: \"http://h\"", &format] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert_eq!(failure.code(), Code::Usage);
    }

    #[test]
    fn a_file_with_an_unknown_field_is_a_usage_error_and_one_that_is_missing_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("hub.yaml");
        let args = || HubArgs { data: Some("/d".into()), config: Some(config.clone()), ..HubArgs::default() };
        assert_eq!(read(args(), &[]).unwrap_err().code(), Code::Failed);
        std::fs::write(&config, "lisen: x\n").unwrap();
        let failure = read(args(), &[]).unwrap_err();
        assert!(failure.to_string().contains("lisen"), "{failure}");
        assert_eq!(failure.code(), Code::Usage);
        std::fs::write(&config, "# nothing\n").unwrap();
        assert!(read(args(), &[]).is_ok());
    }
}
