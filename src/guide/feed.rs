// The page on feeds, as documentation alone.
#![doc = "[guide.md#limits-that-connections-share]: ../index.html#limits-that-connections-share"]
#![doc = ""]
#![doc = include_str!("../../docs/feed.md")]
