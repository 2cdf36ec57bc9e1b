// The page on feeds, as documentation alone.
#![doc = "[guide.md#limits-that-connections-share]: ../index.html#limits-that-connections-share"]
#![doc = "[metrics.md]: https://docs.rs/crate/actix-ws-client/latest/source/docs/metrics.md"]
#![doc = "[record.md]: https://docs.rs/crate/actix-ws-client/latest/source/docs/record.md"]
#![doc = "[wsup.md#wsup-feed]: https://docs.rs/crate/actix-ws-client/latest/source/docs/wsup.md"]
#![doc = ""]
#![doc = include_str!("../../docs/feed.md")]
