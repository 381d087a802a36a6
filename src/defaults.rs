//! Every tunable number of Roadstead with its unit, its reason and its hazard. Nothing here does anything.

use std::time::Duration;

/// Streams that the hub may have open on one link at once. Above the watches of a busy cluster; too few and requests wait for a stream.
pub const AGENT_STREAMS: u32 = 8_192;

/// How many of them the agent grants when the link starts; it grants more while half of them are in use. Each costs the agent ≈ 80 B and
/// its dialling the time to make it: 8,192 at once were three quarters of an idle agent's memory.
pub const AGENT_STREAMS_FIRST: u32 = 256;

/// Streams that an agent may have open towards the hub: control and what later versions add. A bound on abuse.
pub const HUB_STREAMS: u32 = 8;

/// Bytes of one stream that the hub holds for a client that does not read. Throughput of one stream is at most this per round trip,
/// and half of it where packets are lost: at 40 ms and 1 % loss 1 MiB carried 13.7 MB/s, 2 MiB 20.5, 4 MiB 24.0 (`lab faults`).
pub const HUB_STREAM_WINDOW: u32 = 2 << 20;

/// Bytes of one link that the hub holds for all clients that do not read. When it is used up every stream of the
/// cluster stops, so those that stopped reading hold three quarters of it at the most ([`STALLED_BYTES`]): a thousand that never read, at
/// 128 KiB each but for [`LEADS`] of them (`wire::pace`), or 96 that stopped after their first two MiB.
pub const HUB_LINK_WINDOW: u32 = 256 << 20;

/// Bytes that the hub holds unacknowledged towards one agent: requests are small, uploads are few.
pub const HUB_SEND_WINDOW: u64 = 4 << 20;

/// As [`HUB_STREAM_WINDOW`], at the agent: request bodies.
pub const AGENT_STREAM_WINDOW: u32 = 512 << 10;

/// As [`HUB_LINK_WINDOW`], at the agent.
pub const AGENT_LINK_WINDOW: u32 = 32 << 20;

/// Bytes that the agent holds unacknowledged: 8 MiB at 100 ms is 640 Mbit/s.
pub const AGENT_SEND_WINDOW: u64 = 8 << 20;

/// A link without a packet from the peer for this long is dead: more than three keep-alives, and longer than most migrations of
/// virtual machines. A request to a cluster that vanished waits this long for its error.
pub const LINK_IDLE: Duration = Duration::from_secs(15);

/// The agent sends something this often. Below the shortest NAT timeout (30 s), and short enough that an agent is back
/// within 6 s of a hub that was killed and came back: its first packet is answered by a stateless reset, and then it waits,
/// asks its API server's version and dials. What 10,000 agents at rest cost the hub is in docs/performance.md.
pub const LINK_KEEP_ALIVE: Duration = Duration::from_secs(4);

/// An agent that heard nothing for this long closes the link: below [`LINK_IDLE`], after which nobody could be told any more, and three
/// keep-alives, so that two may be lost.
pub const LINK_DEAF: Duration = Duration::from_secs(13);

/// How often the agent looks whether it heard anything.
pub const LINK_LISTEN: Duration = Duration::from_secs(1);

/// First guess of a round trip, before one is measured. Only for loss in handshakes.
pub const LINK_INITIAL_RTT: Duration = Duration::from_millis(100);

/// The largest UDP payload that the agent's path MTU discovery tries, in bytes. Ethernet's 1,452 is found by a search of some round trips;
/// where the network has larger packets a megabyte of an answer costs a quarter less CPU. Above 6,500 ten segments, which quinn
/// hands to the kernel at once, are more than UDP GSO takes, and throughput collapses.
pub const LINK_MTU: u16 = 6_400;

/// As [`LINK_MTU`], from the hub to an agent: requests are small, and each link holds buffers for packets of the size that was found.
pub const HUB_MTU: u16 = 1_452;

/// The search for it ends when what is not known is less than this, bytes. Each step is a packet full of padding, which the peer reads byte
/// by byte: with steps to 20 bytes that was a quarter of what a returning agent cost the hub.
pub const MTU_STEP: u16 = 100;

/// Packets that the hub hands to the kernel at once for one agent. Each link holds room for so many: with quinn's ten a third of all that
/// an idle agent costs. An upload takes more system calls for it.
pub const HUB_SEGMENTS: usize = 2;

/// One lost packet in so many is taken for chance, while none waits: 1 % of wireless and long paths, half of what BBR tolerates at the
/// most. Fewer, and a policer is overrun for longer; more, and a link at 1 % loss carries 0.4 MB/s at 40 ms.
pub const LOSS_TOLERATED: u64 = 40;

/// Bytes over which losses are counted: long enough to tell one in a hundred from three, short enough to follow the path.
pub const LOSS_MEMORY: u64 = 4 << 20;

/// A round trip that has grown by this (or by half, if that is more) means that packets wait in a queue, so a loss is the queue's. Less,
/// and busy machines and wireless hops are taken for queues; more, and others wait longer behind us.
pub const QUEUE_SIGN: Duration = Duration::from_millis(25);

/// Stateless resets are at least this far apart. quinn's 20 ms would leave most agents of a restarted hub waiting.
pub const LINK_RESET_INTERVAL: Duration = Duration::from_micros(200);

/// Socket buffers of the link's UDP socket, bytes, each way; the kernel may give less (`net.core.rmem_max`).
pub const UDP_BUFFER: usize = 8 << 20;

/// A handshake of a link that takes longer is dropped: by the hub from its turn on, by the agent from its dial on.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// Handshakes of links at once; above half of it an unvalidated address must prove itself first (Retry, RFC 9000 § 8.1.2). One address has three
/// quarters of them, 255: as many as there were in all when a fleet of 10,000 behind one address was measured (docs/performance.md).
pub const HANDSHAKES: usize = 340;

/// Peers that wait for their turn to do a handshake; more are refused and come again. Each costs its first packets, 32 MiB for all of them,
/// and no cryptography: a whole fleet that returns waits here instead of dialling in vain.
pub const HANDSHAKES_WAITING: usize = 4_096;

/// How long a turn is waited for. Some of [`HANDSHAKE`], which an agent waits for in all, is left for the handshake.
pub const HANDSHAKE_TURN: Duration = Duration::from_secs(7);

/// Opening a stream waits at most this long for the agent's grant; then the request is refused as overload.
pub const STREAM_OPEN: Duration = Duration::from_secs(3);

/// The first bytes of a stream must come within this.
pub const STREAM_HEAD: Duration = Duration::from_secs(10);

/// Connecting to the API server: TCP and TLS together.
pub const UPSTREAM_CONNECT: Duration = Duration::from_secs(5);

/// An idle connection to the API server is not used again after this: below the 90 s after which kube-apiserver
/// closes it, so that no request meets a connection that is just being closed.
pub const UPSTREAM_IDLE: Duration = Duration::from_secs(60);

/// Idle HTTP/1.1 connections that the agent keeps to its API server. Each costs ≈ 20 KB here and a goroutine there.
pub const UPSTREAM_IDLE_CONNECTIONS: usize = 64;

/// Bytes that are read at once from a connection to the API server: two TLS records. Each connection holds as many.
pub const UPSTREAM_READ: usize = 32 << 10;

/// Bytes that hyper reads ahead of one HTTP/1.1 connection to the API server, at most: a thousand answers that wait for their clients hold
/// as many each. Its own 400 KiB make nothing faster.
pub const UPSTREAM_BUFFER: usize = 128 << 10;

/// TCP keep-alive towards the API server: a dead one is noticed within three of these.
pub const UPSTREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The agent's own credential is asked for this often (a token's file is read each minute, an exec plugin runs when its token
/// ends), and after a 401 it is made anew at most this often.
pub const CREDENTIAL_REFRESH: Duration = Duration::from_secs(10);

/// An answer to an upgrade that is no 101 must be over within this; its connection is never used again.
pub const REFUSED_UPGRADE: Duration = Duration::from_secs(10);

/// Bytes of a body gathered before they are sent, while more is there without waiting.
pub const BODY_BATCH: usize = 64 << 10;

/// An answer that says it is at most [`BODY_BATCH`] long is waited for this long, to be sent in one piece. An API server has it ready;
/// another server behind it may not, and its client then waits so much longer for the head.
pub const WHOLE_ANSWER: Duration = Duration::from_millis(20);

/// An HTTP/1.1 connection of a client on which nothing is asked for this long is closed. Above the 90 s after which Go clients
/// close it themselves, so that no request meets a connection that is just being closed.
pub const CLIENT_IDLE: Duration = Duration::from_secs(120);

/// The head of an HTTP/1.1 request must be whole this long after its first byte, and the first one this long after the TLS
/// handshake; which itself may take as long.
pub const REQUEST_HEAD: Duration = Duration::from_secs(10);

/// The API server gives up on a request that is not long-running after 60 s; the hub a little later, so that the API
/// server's own Status wins.
pub const RESPONSE_HEAD: Duration = Duration::from_secs(70);

/// TLS handshakes of clients at once: enough to fill a core with them, few enough that each is done in a tenth of a second.
/// Without a bound 10,000 agents that enrolled at the same moment, on a machine that was busy, all waited longer than [`ENROL`],
/// tried again, and none ever joined.
pub const TLS_TURNS: usize = 64;

/// A handshake that takes longer does not count any more: its client is far away, or hostile. 64 of these a fifth of a second
/// are 320 handshakes a second even if every client stops in the middle.
pub const TLS_TURN: Duration = Duration::from_millis(200);

/// At shutdown requests that are under way get this long to end.
pub const DRAIN: Duration = Duration::from_secs(20);

/// A join token may be used again by the same key for this long: the answer to its first use may have been lost.
pub const JOIN_RETRY: Duration = Duration::from_secs(600);

/// Life of an agent's certificate unless the hub is told another. Longer, and a stolen key serves a thief for longer; shorter, and an
/// agent that is away for that long must join again.
pub const AGENT_LEAF: Duration = Duration::from_secs(24 * 3600);

/// Life of the hub's own certificates, for links and for HTTPS.
pub const HUB_LEAF: Duration = Duration::from_secs(7 * 24 * 3600);

/// Enrolments of one source address (/64 of IPv6) that may fail, or be under way, at once: a site's worth of agents behind one
/// address may join together, and what succeeds does not count. Each costs a signature to check, 0.1 ms.
pub const ENROLMENT_FAILURES: u32 = 300;

/// So often may one more fail: 0.1 % of a core for each source.
pub const ENROLMENT_FAILURE_EACH: Duration = Duration::from_millis(100);

/// Sources whose failures are counted apart, 64 B each; of a flood from more the rest is counted together.
pub const ENROLMENT_SOURCES: usize = 4_096;

/// An agent must open its control stream and say hello within this.
pub const HELLO: Duration = Duration::from_secs(10);

/// How long the rest of a session may take once one side of it is done.
pub const SESSION_GRACE: Duration = Duration::from_millis(500);

/// After a failed accept (no file descriptors) the gateway waits this long.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Requests at once on one HTTP/2 connection of a client; kube-apiserver's own default is 100, clients open more
/// connections then. Informer-heavy programs use one connection for all watches.
pub const H2_STREAMS: u32 = 1_000;

/// Upload window of one HTTP/2 stream, bytes.
pub const H2_STREAM_WINDOW: u32 = 256 << 10;

/// Upload window of one HTTP/2 connection, bytes.
pub const H2_CONNECTION_WINDOW: u32 = 2 << 20;

/// Bytes by which hyper's buffer of an HTTP/1.1 connection exceeds the largest head; it gathers as much of an answer before the client must
/// read, so each client that does not read holds it.
pub const H1_HEAD_SLACK: usize = 8 << 10;

/// Frames of HTTP/2 are gathered up to this many bytes, four large ones, before TLS gets them (`hub::gateway::gathering`): its records then
/// leave in one system call. Each HTTP/2 connection of a client may hold as many.
pub const H2_WRITE: usize = (64 << 10) + 256;

/// Bytes that hyper buffers for one HTTP/2 stream towards the client.
pub const H2_SEND_BUFFER: usize = 256 << 10;

/// Requests that a client may cancel before they were looked at: informers cancel in bursts. More is an attack
/// (CVE-2023-44487).
pub const H2_PENDING_RESETS: usize = 200;

/// An HTTP/2 client that says nothing is asked this often whether it is there, and has as long to answer.
pub const H2_PING: Duration = Duration::from_secs(20);

/// Life of a join token when nobody says otherwise.
pub const JOIN_TOKEN: Duration = Duration::from_secs(3600);

/// Life of a hub token when nobody says otherwise.
pub const HUB_TOKEN: Duration = Duration::from_secs(8 * 3600);

/// The longest life of a join token.
pub const MAX_JOIN_TOKEN: Duration = Duration::from_secs(7 * 86_400);

/// Keys that may use one join token, at the most: all stand in its record.
pub const MAX_JOIN_USES: u32 = 100;

/// Ranges of addresses that one join token may name.
pub const MAX_JOIN_SOURCES: usize = 32;

/// Join tokens of one cluster that are kept. Those that are used up or expired say who joined with them, until others need their room;
/// more that are open than this are a script in a loop.
pub const JOIN_TOKENS: usize = 64;

/// How often a use of a join token is tried again when another use of it was recorded in between.
pub const JOIN_RACES: usize = 16;

/// The longest life of a hub token.
pub const MAX_HUB_TOKEN: Duration = Duration::from_secs(366 * 86_400);

/// Bytes of a request body of the hub's own API.
pub const API_BODY: usize = 64 << 10;

/// A request of the hub's own API must be whole within this.
pub const API_REQUEST: Duration = Duration::from_secs(10);

/// Largest store that is backed up over the API, bytes of keys and values: it is in memory twice. 10,000 clusters with a month of
/// certificates of a day are some 100 MiB.
pub const BACKUP: usize = 256 << 20;

/// Of each file of the operator's certificate for HTTPS so many bytes are read: a chain is some 10 KiB.
pub const HTTPS_FILE: u64 = 1 << 20;

/// Largest file of a passphrase, bytes. What is larger was not meant to be one.
pub const PASSPHRASE: usize = 4 << 10;

/// How often the grants file is looked at.
pub const GRANTS_POLL: Duration = Duration::from_secs(2);

/// How often a drain looks whether requests are still under way.
pub const DRAIN_POLL: Duration = Duration::from_millis(50);

/// Closing links and connections at the end of a process takes at most this.
pub const CLOSE_GRACE: Duration = Duration::from_secs(3);

/// A nonce for a proof is good for this long: a request to the API server, and one to the hub.
pub const NONCE: Duration = Duration::from_secs(60);

/// Used nonces that are remembered until they would be too old anyway, 40 B each. Only proofs that are good take one; more within two
/// minutes are refused.
pub const NONCES_USED: usize = 16_384;

/// The agent's API server must make a token of its ServiceAccount within this.
pub const ACCOUNT_TOKEN: Duration = Duration::from_secs(5);

/// Life of that token, the shortest that an API server makes.
pub const ACCOUNT_TOKEN_LIFE: Duration = Duration::from_secs(600);

/// An agent of which no proof holds tries again after this, give or take a half: a person must act first, and fleets must not hammer.
pub const PROOF_WAIT: Duration = Duration::from_secs(60);

/// Ports that are tried when the system may choose one (tests, quickstart): its number must be free for TCP and UDP.
pub const PORT_ATTEMPTS: usize = 16;

/// Connections that the kernel accepts ahead of the gateway.
pub const BACKLOG: u32 = 4_096;

/// Life of the token in `admin.yaml`, which the hub makes at its first start.
pub const FIRST_ADMIN_TOKEN: Duration = Duration::from_secs(365 * 86_400);

/// Enrolment, from the first packet to the certificate.
pub const ENROL: Duration = Duration::from_secs(15);

/// So often an agent that has an identity asks for another one with another join token before it goes on with the one that it has: it
/// serves nobody meanwhile.
pub const REKEY_TRIES: u32 = 3;

/// One attempt to dial a hub over UDP from which nothing comes. Short: while it lasts QUIC repeats its first packet ever more rarely, and a hub
/// that comes up in between would be noticed late.
pub const DIAL: Duration = Duration::from_secs(3);

/// The first wait before the agent dials again is between nothing and this (full jitter), then it doubles.
pub const REDIAL_FIRST: Duration = Duration::from_millis(250);

/// The longest such wait. Agents of a restarted hub are back within 5 s of its listening: at worst this, and the 0.9 s that
/// are left of a [`DIAL`] after its last packet, and the handshake. 10,000 of them are 6,000 attempts a second at most,
/// which cost a hub that is down nothing.
pub const REDIAL_LONGEST: Duration = Duration::from_millis(3_500);

/// After a refusal that dialling again does not mend the agent waits this long, give or take half of it: the operator must act, and 10,000
/// agents of locked clusters are 170 handshakes a second. Longer, and a cluster that is unlocked is back that much later.
pub const REFUSED_WAIT: Duration = Duration::from_secs(60);

/// A link that lived this long was good: waiting starts from the beginning after it. Short, or a hub that is restarted twice
/// in a row keeps its agents waiting as if it were away; an agent that flaps dials about once a second.
pub const LINK_PROVEN: Duration = Duration::from_secs(1);

/// An agent that is told to stop lets requests under way finish for this long.
pub const AGENT_DRAIN: Duration = Duration::from_secs(5);

/// How long the agent waits for the API server's version before it says hello without it.
pub const VERSION_PROBE: Duration = Duration::from_secs(2);

/// A renewal that came to nothing is tried again after a quarter of what is left of the certificate's life, but after this at most.
pub const RENEWAL_RETRY: Duration = Duration::from_secs(60);

/// And after this at least: a hub that refuses is not asked all the time.
pub const RENEWAL_RETRY_FIRST: Duration = Duration::from_secs(1);

/// A replaced link stays at least this long: the hub may just have opened a stream on it, and a lost packet or two delay that by seconds.
pub const RETIRE_FIRST: Duration = Duration::from_secs(3);

/// A replaced link that may not stay is ended by the hub; the agent ends it so much later, should the hub not have done it. Above what two clocks
/// that were compared once drift apart in a certificate's life, and what a busy hub is late.
pub const RETIRE_LAST: Duration = Duration::from_secs(5);

/// Requests under way, other than those whose large answer has begun, above which the next short ones go over HTTP/2: as many connections
/// as are kept idle ([`UPSTREAM_IDLE_CONNECTIONS`]). HTTP/1.1 costs the agent a few microseconds more under load, and kube-apiserver 20 to 40 less: with 64
/// clients 5 to 15 % more requests a second (`lab bench`).
pub const UPSTREAM_SHORT_H1: usize = 64;

/// Watches, logs and the like under way above which the next share HTTP/2 connections. Below, each has its own, and nobody's
/// cancellations can close a connection under another.
pub const UPSTREAM_LONG_H1: usize = 256;

/// Requests at once on one HTTP/2 connection to the API server, which allows 100.
pub const UPSTREAM_H2_STREAMS: usize = 80;

/// Window of one HTTP/2 stream from the API server, bytes.
pub const UPSTREAM_H2_STREAM_WINDOW: u32 = 256 << 10;

/// Window of one HTTP/2 connection from the API server, bytes: as many streams as it carries may stall without stopping
/// another.
pub const UPSTREAM_H2_CONNECTION_WINDOW: u32 = 32 << 20;

/// An HTTP/2 connection is asked this often whether the API server is there; it has half of it to answer.
pub const UPSTREAM_H2_PING: Duration = Duration::from_secs(30);

/// How long a session that was cut waits for its client to take the message.
pub const SESSION_LAST_WORD: Duration = Duration::from_secs(1);

/// Answers of one link that may be 896 KiB long before their client has proved that it reads (`wire::pace`): 7 MiB at the most, beside which a
/// thousand that go step by step have room. So few large answers at once, which is how it mostly is, cost three words instead of a dozen.
pub const LEADS: usize = 8;

/// Bytes of [`HUB_LINK_WINDOW`] that clients which stopped reading may hold; above it the slowest are cut.
pub const STALLED_BYTES: u64 = HUB_LINK_WINDOW as u64 / 4 * 3;

/// How often it is looked whether they do: with a thousand of them a look costs as much as a request.
pub const RELIEF: Duration = Duration::from_millis(500);

/// Bytes that the kernel may hold for a client beyond what is on its way. What a client that does not read takes all the same must be
/// below `UNREAD` of `wire::pace`; less, and large answers cost more system calls.
pub const CLIENT_UNSENT: u32 = 256 << 10;

/// A client that has not read for this long counts as one that stopped. Longer than a round trip to anywhere.
pub const STALLED: Duration = Duration::from_secs(1);

/// The hub makes its own certificates anew this often, and its issuing ones when they are due: six tries before the first
/// of them ends.
pub const HUB_RENEWAL: Duration = Duration::from_secs(24 * 3600);

/// The last words of an answer that was cut get this long to leave before the connection is cut, too.
pub const LAST_WORDS: Duration = Duration::from_millis(50);

/// Certificates of agents are recorded for this long after they ended: long enough to look into what happened over a weekend. At 24 h of
/// life a cluster has six or seven records then, 2 KB.
pub const CERTIFICATE_KEPT: Duration = Duration::from_secs(3 * 86_400);

/// How often certificates that ended are forgotten.
pub const FORGET_CERTIFICATES: Duration = Duration::from_secs(3600);

/// How often a change of where a cluster's certificates stand is tried again when another one came in between: each is one enrolment, one
/// new link or one command.
pub const STANDING_RACES: usize = 8;

/// Agent processes of one cluster that take turns so often within [`FLAP_WINDOW`] have one identity between them. A rolling update takes
/// one turn, two at the most.
pub const FLAPS: usize = 6;

/// See [`FLAPS`]; and it is said no more often than this.
pub const FLAP_WINDOW: Duration = Duration::from_secs(60);

/// The agent reads its stored identity again before it dials; an API server that does not answer within this must not hold up the link.
pub const STATE_READ: Duration = Duration::from_secs(2);

/// How far an agent's clock may differ from the hub's without a word. Certificates are backdated by five minutes: beyond that, an agent
/// that is behind cannot join.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Most external CAs of agents. Each is tried in turn for a certificate that is not the hub's own: a stranger costs the hub so many chains.
pub const EXTERNAL_CAS: usize = 16;

/// Most names of external certificates that are mapped to one cluster: all of them go in the one commit that removes it.
pub const EXTERNAL_NAMES: usize = 16;

/// An agent whose certificate no cluster is mapped to asks again after this, give or take half of it: the operator who maps it is waiting.
/// Shorter, and a fleet that nobody mapped hammers the hub.
pub const UNMAPPED_WAIT: Duration = Duration::from_secs(15);

/// How often an agent looks at the files of its certificate: two small reads. Shorter gains nothing, certificates live for hours.
pub const CERTIFICATE_POLL: Duration = Duration::from_secs(2);

/// Of each file of an agent's certificate so many bytes are read: a chain is some 10 KiB.
pub const CERTIFICATE_FILE: u64 = 256 << 10;

/// A new certificate that the hub does not take, while the old one serves, is tried again after this.
pub const GIVEN_RETRY: Duration = Duration::from_secs(30);

/// Changes of one record that may come in between before another change of it is given up. Each of them succeeded, so this many is a fault.
pub const STORE_RACES: usize = 16;

/// Agents a second that a rotation asks to renew or to dial again: each costs the hub a signature, a handshake and a commit. Double, and the
/// fleet is through in half the time, with twice the load beside its requests.
pub const ROTATION_RATE: u32 = 50;
