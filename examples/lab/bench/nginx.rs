//! Two nginx, one behind the other: what a request costs at least when two proxies carry it over TLS. No tunnel, the yardstick.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::process::Watched;
use crate::cluster::{Process, ReservedPort, write_private};

/// Both of them, for several servers behind; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Nginx {
    front: Process,
    back: Process,
    ports: Vec<ReservedPort>,
    _back_ports: Vec<ReservedPort>,
    ca_pem: String,
}

/// A server behind: `HOST:PORT` and the file of its CA. Its certificate must name `localhost`.
pub(crate) struct Behind<'a> {
    pub(crate) address: &'a str,
    pub(crate) ca: &'a Path,
}

impl Nginx {
    /// Starts them with their files in `dir`.
    ///
    /// # Errors
    /// When nginx is not installed.
    pub(crate) fn start(dir: &Path, servers: &[Behind<'_>]) -> Result<Self> {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        fs::write(dir.join("nginx.crt"), cert.pem())?;
        write_private(&dir.join("nginx.key"), signing_key.serialize_pem().as_bytes())?;
        let reserve = || servers.iter().map(|_| ReservedPort::new()).collect::<Result<Vec<_>>>();
        let (ports, back_ports) = (reserve()?, reserve()?);
        let between = dir.join("nginx.crt");
        let middle: Vec<String> = back_ports.iter().map(|port| format!("127.0.0.1:{}", port.number())).collect();
        let backs: Vec<Behind<'_>> = middle.iter().map(|address| Behind { address, ca: &between }).collect();
        let back = start_one("nginx-back", dir, &back_ports, servers)?;
        let front = start_one("nginx-front", dir, &ports, &backs)?;
        Ok(Self { front, back, ports, _back_ports: back_ports, ca_pem: cert.pem() })
    }

    /// The base URL of the server of that number.
    pub(crate) fn url(&self, server: usize) -> String {
        format!("https://127.0.0.1:{}", self.ports[server].number())
    }

    /// The CA of that URL.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Front and back.
    pub(crate) fn processes(&self) -> Vec<Watched> {
        vec![Watched::new("front", self.front.pid()), Watched::new("back", self.back.pid())]
    }
}

fn start_one(name: &str, dir: &Path, ports: &[ReservedPort], servers: &[Behind<'_>]) -> Result<Process> {
    let home = dir.join(name);
    fs::create_dir_all(&home)?;
    let mut text = HEAD.replace("HOME", &home.display().to_string());
    for (number, (port, behind)) in ports.iter().zip(servers).enumerate() {
        let server = SERVER
            .replace("NUMBER", &number.to_string())
            .replace("PORT", &port.number().to_string())
            .replace("ADDRESS", behind.address)
            .replace("AUTHORITY", &behind.ca.display().to_string())
            .replace("DIR", &dir.display().to_string());
        text.push_str(&server);
    }
    text.push_str("}\n");
    let file = home.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new("nginx");
    // Debian has it where only root looks.
    command.env("PATH", format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default()));
    command.arg("-p").arg(&home).arg("-e").arg(home.join("error.log")).arg("-c").arg(&file);
    let mut nginx = Process::spawn(name, command, dir).context("starting nginx (Debian package: nginx-light)")?;
    for port in ports {
        while std::net::TcpStream::connect(("127.0.0.1", port.number())).is_err() {
            nginx.check()?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(nginx)
}

/// One process each: a master would outlive us by its worker. Everything that costs and is not the carrying of requests is off.
/// Answers are not buffered, as watches must not wait; for lists that made no difference (measured: 1.3 to 1.4 ms of CPU a MB either way).
const HEAD: &str = "
daemon off; master_process off;
pid HOME/nginx.pid; error_log HOME/error.log warn;
events { worker_connections 16384; }
http {
  access_log off; server_tokens off; tcp_nodelay on;
  keepalive_timeout 1h; keepalive_requests 1000000000; http2_max_concurrent_streams 2000;
  client_max_body_size 0; client_body_temp_path HOME/body; proxy_temp_path HOME/proxy;
  fastcgi_temp_path HOME/fastcgi; scgi_temp_path HOME/scgi; uwsgi_temp_path HOME/uwsgi;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off; ssl_session_tickets off;
  proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $http_host;
  proxy_buffering off; proxy_request_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; proxy_read_timeout 1h; proxy_send_timeout 1h;
  proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on;
";

const SERVER: &str = "
  upstream behind-NUMBER { server ADDRESS; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 1h; }
  server {
    listen 127.0.0.1:PORT ssl http2 reuseport backlog=4096;
    ssl_certificate DIR/nginx.crt; ssl_certificate_key DIR/nginx.key;
    location / { proxy_pass https://behind-NUMBER; proxy_ssl_trusted_certificate AUTHORITY; }
  }
";
