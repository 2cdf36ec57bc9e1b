//! What an entry of the queue costs beside the memory that it points to.

/// What the allocator adds to a block of memory, in bytes: 8 to 23, and more to the smallest.
pub(super) const BLOCK: usize = 16;

/// Returns what an entry costs, in bytes: its block, with its number, and its place in a list that may
/// be half empty.
pub(super) const fn of_entry<T>() -> usize {
    size_of::<(u64, T)>() + BLOCK + 2 * size_of::<Box<T>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_costs_its_block_with_its_number_and_two_places_in_the_list() {
        // 8 for the number, 24 for itself, 16 for the allocator, and twice 8.
        assert_eq!(of_entry::<[u64; 3]>(), 8 + 24 + 16 + 16);
    }
}
