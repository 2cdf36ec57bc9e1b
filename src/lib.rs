//! A supervised WebSocket client for actix.

pub mod backoff;
pub mod proto;
