// The guide, as documentation alone.
//
// The first definition of a link's label counts: these stand in for those at the end of the page, which lead
// from file to file in the repository.
#![doc = "[feed.md]: feed/index.html"]
#![doc = "[performance.md]: https://docs.rs/crate/actix-ws-client/latest/source/docs/performance.md"]
#![doc = "[record.md]: https://docs.rs/crate/actix-ws-client/latest/source/docs/record.md"]
#![doc = "[security.md]: https://docs.rs/crate/actix-ws-client/latest/source/docs/security.md"]
#![doc = ""]
#![doc = include_str!("../docs/guide.md")]

pub mod feed;
