//! Every tunable number of Roadstead with its unit, its reason and its hazard. Nothing here does anything.

use std::time::Duration;

/// Streams that the hub may have open on one link at once; the agent grants them when the link starts.
/// Above the watches of a busy cluster. Each costs the agent ≈ 41 B; too few and requests wait for a stream.
pub const AGENT_STREAMS: u32 = 8_192;

/// Streams that an agent may have open towards the hub: control and what later versions add. A bound on abuse.
pub const HUB_STREAMS: u32 = 8;

/// Bytes of one stream that the hub holds for a client that does not read. Throughput of one stream is at most this
/// per round trip: 1 MiB at 40 ms is 210 Mbit/s.
pub const HUB_STREAM_WINDOW: u32 = 1 << 20;

/// Bytes of one link that the hub holds for all clients that do not read. When it is used up every stream of the
/// cluster stops, so it is many times [`HUB_STREAM_WINDOW`], and slow readers are cut before ([`SLOW_READER`]).
pub const HUB_LINK_WINDOW: u32 = 64 << 20;

/// Bytes that the hub holds unacknowledged towards one agent: requests are small, uploads are few.
pub const HUB_SEND_WINDOW: u64 = 4 << 20;

/// As [`HUB_STREAM_WINDOW`], at the agent: request bodies.
pub const AGENT_STREAM_WINDOW: u32 = 512 << 10;

/// As [`HUB_LINK_WINDOW`], at the agent.
pub const AGENT_LINK_WINDOW: u32 = 32 << 20;

/// Bytes that the agent holds unacknowledged: 8 MiB at 100 ms is 640 Mbit/s.
pub const AGENT_SEND_WINDOW: u64 = 8 << 20;

/// A link without a packet from the peer for this long is dead. Longer than a virtual machine's migration.
pub const LINK_IDLE: Duration = Duration::from_secs(20);

/// The agent sends something this often. Below the shortest NAT timeout (30 s), and short enough that an agent learns
/// of a hub that was killed and came back within 5 s: its first packet is answered by a stateless reset.
/// 10,000 agents cost the hub ≈ 8 % of a core.
pub const LINK_KEEP_ALIVE: Duration = Duration::from_secs(4);

/// First guess of a round trip, before one is measured. Only for loss in handshakes.
pub const LINK_INITIAL_RTT: Duration = Duration::from_millis(100);

/// The largest UDP payload that path MTU discovery tries, in bytes: Ethernet less IPv4/IPv6 and UDP headers.
pub const LINK_MTU: u16 = 1_452;

/// Stateless resets are at least this far apart. quinn's 20 ms would leave most agents of a restarted hub waiting.
pub const LINK_RESET_INTERVAL: Duration = Duration::from_micros(200);

/// Socket buffers of the link's UDP socket, bytes, each way; the kernel may give less (`net.core.rmem_max`).
pub const UDP_BUFFER: usize = 8 << 20;

/// A handshake of a link that takes longer is dropped.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// Handshakes of links at once; above half of it an unvalidated address must prove itself first (Retry, RFC 9000 § 8.1.2).
pub const HANDSHAKES: usize = 256;

/// Opening a stream waits at most this long for the agent's grant; then the request is refused as overload.
pub const STREAM_OPEN: Duration = Duration::from_secs(3);

/// The first bytes of a stream must come within this.
pub const STREAM_HEAD: Duration = Duration::from_secs(10);
