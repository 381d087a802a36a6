//! Tests of the layer as its users see it: a file of grants in, decisions and faults out.

mod decide;
mod parse;
