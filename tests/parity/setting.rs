//! Which kubectl, which HTTP version and which streaming protocol a run is about.

use crate::table::{Row, Tag};

/// One combination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// For people.
    pub(crate) name: &'static str,
    /// The program.
    pub(crate) kubectl: &'static str,
    /// What plain requests must use: `2` or `1.1`.
    pub(crate) http: &'static str,
    /// What sessions must use: `websocket` or `spdy/3.1`.
    pub(crate) upgrade: &'static str,
    /// What makes kubectl use them.
    pub(crate) variables: &'static [(&'static str, &'static str)],
    rows: &'static [Tag],
}

const HTTP1: (&str, &str) = ("DISABLE_HTTP2", "1");
const SPDY_SESSIONS: (&str, &str) = ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
const SPDY_PORTS: (&str, &str) = ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");

/// The first has the whole table; together they cover each kubectl × HTTP version × streaming protocol at least in part.
pub(crate) const SETTINGS: [Setting; 5] = [
    Setting {
        name: "kubectl 1.36, HTTP/2, WebSocket",
        kubectl: "kubectl",
        http: "2",
        upgrade: "websocket",
        variables: &[],
        rows: &[],
    },
    Setting {
        name: "kubectl 1.36, HTTP/2, SPDY",
        kubectl: "kubectl",
        http: "2",
        upgrade: "spdy/3.1",
        variables: &[SPDY_SESSIONS, SPDY_PORTS],
        rows: &[Tag::Stream],
    },
    Setting {
        name: "kubectl 1.36, HTTP/1.1, WebSocket",
        kubectl: "kubectl",
        http: "1.1",
        upgrade: "websocket",
        variables: &[HTTP1],
        rows: &[Tag::Core],
    },
    Setting {
        name: "kubectl 1.37, HTTP/2, WebSocket",
        kubectl: "kubectl-1.37",
        http: "2",
        upgrade: "websocket",
        variables: &[],
        rows: &[Tag::Core, Tag::Stream],
    },
    Setting {
        name: "kubectl 1.37, HTTP/1.1, SPDY",
        kubectl: "kubectl-1.37",
        http: "1.1",
        upgrade: "spdy/3.1",
        variables: &[HTTP1, SPDY_SESSIONS, SPDY_PORTS],
        rows: &[Tag::Stream],
    },
];

impl Setting {
    /// Whether a row runs here.
    pub(crate) fn has(&self, row: &Row) -> bool {
        self.rows.is_empty() || row.tag.is_some_and(|tag| tag == Tag::All || self.rows.contains(&tag))
    }
}
