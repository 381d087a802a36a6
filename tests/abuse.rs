//! Nothing gets in: the abuse cases of the security design, each against a real hub and a real agent (this build's own binary).
//!
//! Only the API server is a fake (`abuse/origin.rs`): what must be shown is which bytes reach it and what happens when it lies, and a
//! real one neither records bytes nor lies. Every row says its id, is run on its own, and is printed as `T022 ok …`; rows that the
//! product has no part for yet are printed with what brings them (`abuse/rows.rs`).
#![allow(
    clippy::disallowed_methods,
    reason = "tasks end with the runtime of their test, and processes outside are waited for in real time"
)]

#[path = "abuse/differential.rs"]
mod differential;
#[path = "abuse/enrolment.rs"]
mod enrolment;
#[path = "abuse/evil_agent.rs"]
mod evil_agent;
#[path = "abuse/evil_hub.rs"]
mod evil_hub;
#[path = "abuse/front_door.rs"]
mod front_door;
#[path = "abuse/h2.rs"]
mod h2;
#[path = "abuse/join_tokens.rs"]
mod join_tokens;
#[path = "abuse/links.rs"]
mod links;
#[allow(dead_code, reason = "the renewal test uses more of it")]
#[path = "abuse/origin.rs"]
mod origin;
#[path = "abuse/quic.rs"]
mod quic;
#[path = "abuse/raw.rs"]
mod raw;
#[path = "abuse/rows.rs"]
mod rows;
#[path = "abuse/upstream.rs"]
mod upstream;
#[allow(dead_code, reason = "the renewal test uses more of it")]
#[path = "abuse/world.rs"]
mod world;
