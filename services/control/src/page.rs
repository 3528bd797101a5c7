//! Pages of a list: how many, and where the next one begins.

use sluice_registry::Violation;

/// Entries of a page when the request names no size.
const PAGE_DEFAULT: usize = 100;
/// Entries of a page at most; asking for more gives this many.
const PAGE_MAX: usize = 1_000;

/// The size asked for within bounds; 0 is the default.
pub(crate) fn size(asked: i32) -> Result<usize, Violation> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_DEFAULT),
        Ok(n) => Ok(n.min(PAGE_MAX)),
        Err(_) => Err(Violation::new("page_size", "not negative; 0 is the default")),
    }
}

/// The token after a page that `max` cut off: the key of its last entry. Empty when nothing follows.
pub(crate) fn next_token<T>(page: &mut Vec<T>, max: usize, key: impl Fn(&T) -> String) -> String {
    if page.len() <= max {
        return String::new();
    }
    page.truncate(max);
    page.last().map(key).unwrap_or_default()
}
