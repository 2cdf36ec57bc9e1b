//! A supervised WebSocket client for actix.

pub mod proto;
