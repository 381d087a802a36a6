//! Every tunable number of Roadstead with its unit, its reason and its hazard. Nothing here does anything.
