//! The agent: dialer, proxy to the one API server, its key. Never uses the hub.
