//! Tables with an entry for each topic of a shard.

/// Fills a table up to `len` entries. Its capacity grows by an eighth, in place of twofold: a shard has many such tables,
/// and thousands of topics that are all added at the start.
#[cold]
pub(crate) fn fill<V>(table: &mut Vec<V>, len: usize, make: impl FnMut() -> V) {
    reserve(table, len);
    if len > table.len() {
        table.resize_with(len, make);
    }
}

/// Makes room for `len` entries, and for an eighth more if there was none.
pub(crate) fn reserve<V>(table: &mut Vec<V>, len: usize) {
    if len > table.capacity() {
        table.reserve_exact(len + len / 8 + 1 - table.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_an_eighth_more_than_it_holds_and_grows_seldom() {
        let (mut table, mut moves) = (Vec::new(), 0);
        for len in 1..=10_000 {
            let before = table.capacity();
            fill(&mut table, len, || 0_u64);
            assert_eq!(table.len(), len);
            assert!(table.capacity() <= len + len / 8 + 1, "{} for {len}", table.capacity());
            moves += usize::from(table.capacity() > before);
        }
        assert!(moves < 80, "{moves}");
        fill(&mut table, 5, || 0);
        assert_eq!(table.len(), 10_000, "it never shrinks");
    }
}
