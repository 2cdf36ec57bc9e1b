//! The WebSocket protocol as values: no socket, no clock, no actor.
