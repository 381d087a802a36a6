//! Keys and values with revisions, compare-and-swap, watch and leases. Does not know what the values mean.
