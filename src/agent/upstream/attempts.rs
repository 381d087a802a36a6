//! Whether a request whose connection broke is sent again, and what may be said when it cannot be. Decides; knows no connection.

/// How a request's connection broke before an answer began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken {
    /// No byte of the request was written: it was handed back.
    pub(crate) unsent: bool,
    /// It had carried requests before: an idle connection may have been closed meanwhile.
    pub(crate) reused: bool,
    /// The API server says that it did not begin (RFC 9113 § 8.7).
    pub(crate) refused: bool,
    /// A second copy is there: the request changes nothing and has no body.
    pub(crate) copy: bool,
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Again {
    /// The one that was handed back goes out again.
    Same,
    /// Its copy does.
    Copy,
    /// It failed.
    No,
}

/// One request on its way to the API server.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    may_have_run: bool,
}

impl Attempts {
    /// A connection broke. Again is always on a fresh one, which is certainly alive: so it ends.
    pub(crate) fn broke(&mut self, broken: Broken) -> Again {
        self.may_have_run |= !broken.unsent && !broken.refused;
        match broken {
            Broken { unsent: true, reused: true, .. } => Again::Same,
            Broken { unsent: false, copy: true, reused, refused } if reused || refused => Again::Copy,
            _ => Again::No,
        }
    }

    /// Whether the API server may have run an attempt that came to nothing.
    pub(crate) fn may_have_run(&self) -> bool {
        self.may_have_run
    }
}
