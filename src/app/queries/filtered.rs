//! Pages of what a filter takes: reads on until the page is full, or enough was looked at.

use std::future::Future;

/// What was read at once: items, each with the place behind it.
pub(super) struct Batch<T, C> {
    pub found: Vec<(T, C)>,
    /// How many were read for them: more, where some say nothing any more.
    pub looked: usize,
    /// Where to read on, if there is more.
    pub next: Option<C>,
}

/// How much one page may be and cost.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Most items of the page.
    pub limit: usize,
    /// After so many that were looked at, no further ones are read.
    pub looked_max: usize,
}

/// The items from `start` on that the filter takes, and where the next page begins. A page can have
/// few items or none although there is a next one.
pub(super) async fn page<T, C, E, F>(
    bounds: Bounds,
    start: Option<C>,
    takes: impl Fn(&T) -> bool,
    read: impl Fn(Option<C>) -> F,
) -> Result<(Vec<T>, Option<C>), E>
where
    F: Future<Output = Result<Batch<T, C>, E>>,
{
    let (mut taken, mut looked, mut from) = (Vec::new(), 0, start);
    loop {
        let batch = read(from).await?;
        looked += batch.looked;
        let (found, next) = (batch.found, batch.next);
        let mut found = found.into_iter().peekable();
        while let Some((item, end)) = found.next() {
            if takes(&item) {
                taken.push(item);
            }
            if taken.len() == bounds.limit {
                let has_more = found.peek().is_some() || next.is_some();
                return Ok((taken, has_more.then_some(end)));
            }
        }
        if next.is_none() || looked >= bounds.looked_max {
            return Ok((taken, next));
        }
        from = next;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use futures::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    /// Reads of the numbers below `end`, some at a time; counts what is read.
    fn numbers(
        end: usize,
        together: usize,
        read: &Cell<usize>,
    ) -> impl Fn(Option<usize>) -> std::future::Ready<Result<Batch<usize, usize>, Infallible>> {
        move |from| {
            let first = from.map_or(0, |last| last + 1);
            let last = (first + together).min(end);
            let found: Vec<_> = (first..last).map(|n| (n, n)).collect();
            read.set(read.get() + found.len());
            let (looked, next) = (found.len(), (last < end).then(|| last - 1));
            std::future::ready(Ok(Batch {
                found,
                looked,
                next,
            }))
        }
    }

    proptest! {
        /// Page after page, a filter gives what it takes of everything, in order, none twice; and
        /// no page is longer or costs more than it may.
        #[test]
        fn pages_of_a_filter_lose_and_repeat_nothing(
            end in 0_usize..200, together in 1_usize..20, limit in 1_usize..10, looked_max in 1_usize..50, every in 1_usize..30,
        ) {
            let takes = |n: &usize| n.is_multiple_of(every);
            let (bounds, mut all, mut from) = (Bounds { limit, looked_max }, Vec::new(), None);
            loop {
                let read = Cell::new(0);
                let page = page(bounds, from, takes, numbers(end, together, &read));
                let Some(Ok((taken, next))) = page.now_or_never() else { unreachable!() };
                prop_assert!(taken.len() <= limit);
                prop_assert!(read.get() < looked_max + together, "{} were read", read.get());
                all.extend(taken);
                let Some(next) = next else { break };
                prop_assert!(from.is_none_or(|from| from < next), "no page stays where it began");
                from = Some(next);
            }
            let expected: Vec<usize> = (0..end).filter(takes).collect();
            prop_assert_eq!(all, expected);
        }
    }
}
