//! The hub: gateway, enrolment, router, links and the API. Never uses the agent.

pub mod api_types;
