//! Codes of QUIC RESET_STREAM / STOP_SENDING and CONNECTION_CLOSE frames.

/// Why one half of a stream was cut. Goes into RESET_STREAM and STOP_SENDING (RFC 9000 § 19.4, § 19.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamCode {
    /// A half was dropped unfinished: a bug or a panic on the sending side, never a clean end.
    Dropped,
    /// The client of the hub went away.
    Cancelled,
    /// The side that forwards to the API server lost it.
    UpstreamLost,
    /// A deadline passed.
    Deadline,
    /// The reader did not read for too long.
    SlowReader,
    /// The peer broke the wire contract.
    Protocol,
    /// The process is going away.
    Draining,
    /// What the stream begins with did not come in time: nothing was done with it.
    Unstarted,
    /// A code of a newer version.
    Unknown(u64),
}

impl StreamCode {
    /// The number on the wire.
    pub fn code(self) -> u64 {
        match self {
            Self::Dropped => 0x2000,
            Self::Cancelled => 0x2001,
            Self::UpstreamLost => 0x2002,
            Self::Deadline => 0x2003,
            Self::SlowReader => 0x2004,
            Self::Protocol => 0x2005,
            Self::Draining => 0x2006,
            Self::Unstarted => 0x2007,
            Self::Unknown(code) => code,
        }
    }

    /// For logs and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Cancelled => "cancelled",
            Self::UpstreamLost => "API server lost",
            Self::Deadline => "deadline passed",
            Self::SlowReader => "reader too slow",
            Self::Protocol => "protocol error",
            Self::Draining => "draining",
            Self::Unstarted => "its beginning did not come in time",
            Self::Unknown(_) => "unknown code",
        }
    }
}

impl From<u64> for StreamCode {
    fn from(code: u64) -> Self {
        match code {
            0x2000 => Self::Dropped,
            0x2001 => Self::Cancelled,
            0x2002 => Self::UpstreamLost,
            0x2003 => Self::Deadline,
            0x2004 => Self::SlowReader,
            0x2005 => Self::Protocol,
            0x2006 => Self::Draining,
            0x2007 => Self::Unstarted,
            other => Self::Unknown(other),
        }
    }
}

/// Why a whole link was closed. Goes into CONNECTION_CLOSE (RFC 9000 § 19.19).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseCode {
    /// The process ends.
    Normal,
    /// The hub goes away; dial again.
    Draining,
    /// The same agent has a newer link.
    Superseded,
    /// The identity is revoked or removed: dialling again does not help.
    Revoked,
    /// The certificate's `notAfter` has passed.
    Expired,
    /// The peer broke the wire contract.
    Protocol,
    /// No room now; dial later.
    Overloaded,
    /// Nothing was heard of the peer, who may hear this all the same.
    Silent,
    /// The cluster is locked: dialling again helps once it is unlocked.
    Locked,
    /// The certificate is another CA's, good, and of no cluster: dialling again helps once one of its names is mapped.
    Unmapped,
    /// A code of a newer version.
    Unknown(u64),
}

impl CloseCode {
    /// The number on the wire.
    pub fn code(self) -> u64 {
        match self {
            Self::Normal => 0x1000,
            Self::Draining => 0x1001,
            Self::Superseded => 0x1002,
            Self::Revoked => 0x1003,
            Self::Protocol => 0x1004,
            Self::Overloaded => 0x1005,
            Self::Expired => 0x1006,
            Self::Silent => 0x1007,
            Self::Locked => 0x1008,
            Self::Unmapped => 0x1009,
            Self::Unknown(code) => code,
        }
    }

    /// For logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "closed",
            Self::Draining => "draining",
            Self::Superseded => "superseded by a newer link",
            Self::Revoked => "identity revoked",
            Self::Protocol => "protocol error",
            Self::Overloaded => "overloaded",
            Self::Expired => "certificate expired",
            Self::Silent => "nothing was heard for too long",
            Self::Locked => "cluster locked",
            Self::Unmapped => "certificate of no cluster",
            Self::Unknown(_) => "unknown code",
        }
    }
}

impl From<u64> for CloseCode {
    fn from(code: u64) -> Self {
        match code {
            0x1000 => Self::Normal,
            0x1001 => Self::Draining,
            0x1002 => Self::Superseded,
            0x1003 => Self::Revoked,
            0x1004 => Self::Protocol,
            0x1005 => Self::Overloaded,
            0x1006 => Self::Expired,
            0x1007 => Self::Silent,
            0x1008 => Self::Locked,
            0x1009 => Self::Unmapped,
            other => Self::Unknown(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_wire() {
        for code in (0x0ff0..0x1010).chain(0x1ff0..0x2010) {
            assert_eq!(StreamCode::from(code).code(), code);
            assert_eq!(CloseCode::from(code).code(), code);
        }
    }
}
