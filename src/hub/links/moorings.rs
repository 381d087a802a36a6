//! The links of one cluster in the order in which they came. Decides which of them serves; knows not what a link is.

/// Oldest first: the newest that is alive serves, an older one steps in when it ends.
#[derive(Debug)]
pub(crate) struct Moorings<L>(Vec<(u64, L)>);

impl<L> Default for Moorings<L> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<L> Moorings<L> {
    /// Adds a link. Generations grow with every link; two that come at once may be added in either order.
    pub(crate) fn moor(&mut self, generation: u64, link: L) {
        let at = self.0.partition_point(|(other, _)| *other < generation);
        self.0.insert(at, (generation, link));
    }

    /// Takes out that link and no other: a reconnect is not evicted by its own past.
    pub(crate) fn unmoor(&mut self, generation: u64) {
        self.0.retain(|(other, _)| *other != generation);
    }

    /// The one that new streams are opened on.
    pub(crate) fn serving(&self, alive: impl Fn(&L) -> bool) -> Option<&L> {
        self.all().rev().find(|link| alive(link))
    }

    /// The one that came last, alive or not.
    pub(crate) fn newest(&self) -> Option<&L> {
        self.all().next_back()
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &L> {
        self.0.iter().map(|(_, link)| link)
    }
}
