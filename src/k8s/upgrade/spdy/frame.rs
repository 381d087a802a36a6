//! SPDY/3 frames: the eight bytes before each, and how to fill up one that was cut.

/// Largest rest of a DATA frame that is filled up, in bytes; container runtimes write at most 32 KiB at once.
const MAX_FILL: u32 = 1 << 20;

/// Length of a frame's head.
const HEAD: usize = 8;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// FIN, on DATA, SYN_STREAM, SYN_REPLY and HEADERS alike.
const FLAG_FIN: u8 = 0x01;

/// A PING with an even id, which a client answers and forgets; completes a control frame of which too little is known.
const PING_FRAME: [u8; 12] = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2];

/// Fills the unknown part of a stream id: no client opens stream 0x7f.
const NO_STREAM: u8 = 0x7f;

/// The head of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Head {
    Data { stream: u32, flags: u8, length: u32 },
    Control { kind: u16, flags: u8, length: u32 },
}

/// What the next bytes are.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step<'a> {
    /// Part of a head.
    Head,
    /// A frame's next bytes, possibly none; after the last of them the cursor is at a boundary.
    Frame { head: Head, part: &'a [u8], last: bool },
    /// Not SPDY/3.
    Malformed,
}

/// Where in its sequence of frames one direction is.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    head: [u8; HEAD],
    have: usize,
    current: Option<Head>,
    left: u32,
    /// The first bytes of a control frame's payload: the stream id, in every frame that has one.
    prefix: [u8; 4],
    prefix_have: usize,
}

impl Head {
    fn parse(bytes: [u8; HEAD]) -> Option<Self> {
        let [a, b, c, d, flags, x, y, z] = bytes;
        let length = u32::from_be_bytes([0, x, y, z]);
        if a & 0x80 == 0 {
            return Some(Self::Data { stream: u32::from_be_bytes([a, b, c, d]), flags, length });
        }
        let version = u16::from_be_bytes([a & 0x7f, b]);
        (version == 3).then_some(Self::Control { kind: u16::from_be_bytes([c, d]), flags, length })
    }

    fn length(self) -> u32 {
        match self {
            Self::Data { length, .. } | Self::Control { length, .. } => length,
        }
    }

    /// DATA that carries something.
    pub(super) fn carries_data(self) -> bool {
        matches!(self, Self::Data { length: 1.., .. })
    }

    pub(super) fn is_reply(self) -> bool {
        matches!(self, Self::Control { kind: SYN_REPLY, .. })
    }

    pub(super) fn is_goaway(self) -> bool {
        matches!(self, Self::Control { kind: GOAWAY, .. })
    }

    pub(super) fn opens_stream(self) -> bool {
        matches!(self, Self::Control { kind: SYN_STREAM, .. })
    }

    /// FIN, or a reset.
    pub(super) fn ends_stream(self) -> bool {
        match self {
            Self::Data { flags, .. } | Self::Control { kind: SYN_REPLY | HEADERS, flags, .. } => flags & FLAG_FIN != 0,
            Self::Control { kind, .. } => kind == RST_STREAM,
        }
    }

    /// Bytes before the compressed header block, in the frames that have one.
    pub(super) fn block_offset(self) -> Option<usize> {
        match self {
            Self::Control { kind: SYN_STREAM, .. } => Some(10),
            Self::Control { kind: SYN_REPLY | HEADERS, .. } => Some(4),
            _ => None,
        }
    }
}

impl Cursor {
    /// Takes the next step from `bytes`, which are not empty, and gives back the rest.
    pub(super) fn step<'a>(&mut self, bytes: &'a [u8]) -> (Step<'a>, &'a [u8]) {
        let Some(head) = self.current else { return self.step_head(bytes) };
        let (part, rest) = bytes.split_at(bytes.len().min(self.left as usize));
        let missing = part.len().min(self.prefix.len() - self.prefix_have);
        self.prefix[self.prefix_have..self.prefix_have + missing].copy_from_slice(&part[..missing]);
        self.prefix_have += missing;
        self.left -= u32::try_from(part.len()).expect("the part is no longer than what is left, a u32");
        let last = self.left == 0;
        if last {
            self.current = None;
        }
        (Step::Frame { head, part, last }, rest)
    }

    /// The stream that the frame just ended belongs to; `None` for a frame of the whole session.
    pub(super) fn stream_of(&self, head: Head) -> Option<u32> {
        match head {
            Head::Data { stream, .. } => Some(stream),
            Head::Control { kind: SYN_STREAM | SYN_REPLY | RST_STREAM | HEADERS, .. } if self.prefix_have == 4 => {
                Some(u32::from_be_bytes(self.prefix) & 0x7fff_ffff)
            }
            Head::Control { .. } => None,
        }
    }

    /// What completes a frame that was cut, so that the client ignores it or takes it as harmless; nothing at a
    /// boundary. `None` inside a header block: the client's decompressor could not go on.
    ///
    /// Zeros in a session's output are wrong bytes, but the session also fails; without them it would succeed.
    pub(super) fn completion(&self) -> Option<Vec<u8>> {
        match self.current {
            Some(Head::Data { .. }) => fill(self.left, 0),
            Some(Head::Control { kind: PING, .. }) if self.left <= 4 => fill(self.left, 2),
            Some(Head::Control { kind: RST_STREAM | WINDOW_UPDATE, .. }) if self.left <= 8 => {
                fill(self.left, NO_STREAM)
            }
            Some(Head::Control { .. }) => None,
            None if self.have == 0 => Some(Vec::new()),
            None if self.head[0] & 0x80 == 0 => self.complete_data_head(),
            None => {
                let known = PING_FRAME.starts_with(&self.head[..self.have]);
                known.then(|| PING_FRAME[self.have..].to_vec())
            }
        }
    }

    fn complete_data_head(&self) -> Option<Vec<u8>> {
        let mut head = self.head;
        head[self.have..].fill(0);
        if self.have < 4 {
            head[self.have..4].fill(NO_STREAM);
        }
        let mut bytes = head[self.have..].to_vec();
        bytes.extend(fill(Head::parse(head)?.length(), 0)?);
        Some(bytes)
    }

    fn step_head<'a>(&mut self, bytes: &'a [u8]) -> (Step<'a>, &'a [u8]) {
        let (part, rest) = bytes.split_at(bytes.len().min(HEAD - self.have));
        self.head[self.have..self.have + part.len()].copy_from_slice(part);
        self.have += part.len();
        if self.have < HEAD {
            return (Step::Head, rest);
        }
        let Some(head) = Head::parse(self.head) else { return (Step::Malformed, &[]) };
        (self.have, self.prefix_have, self.left) = (0, 0, head.length());
        let last = self.left == 0;
        self.current = (!last).then_some(head);
        (Step::Frame { head, part: &[], last }, rest)
    }
}

fn fill(length: u32, byte: u8) -> Option<Vec<u8>> {
    (length <= MAX_FILL).then(|| vec![byte; length as usize])
}

/// DATA with FIN. Longer text than a frame holds (16 MiB) is cut.
pub(super) fn data_fin(stream: u32, text: &[u8]) -> Vec<u8> {
    let text = &text[..text.len().min(0x00ff_ffff)];
    let mut bytes = stream.to_be_bytes().to_vec();
    let length = u32::try_from(text.len()).expect("cut to 24 bits just above");
    bytes.extend((u32::from(FLAG_FIN) << 24 | length).to_be_bytes());
    bytes.extend(text);
    bytes
}

/// RST_STREAM.
pub(super) fn reset(stream: u32, status: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 3];
    bytes.extend(RST_STREAM.to_be_bytes());
    bytes.extend([8_u32, stream, status].iter().flat_map(|n| n.to_be_bytes()));
    bytes
}
