//! When time alone changes something, for many at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Time;

/// The deadlines of many, of which only those that are due are ever looked at.
#[derive(Clone, Debug)]
pub struct Deadlines<K> {
    of: BTreeMap<K, Time>,
    in_order: BTreeSet<(Time, K)>,
}

impl<K: Copy + Ord> Deadlines<K> {
    /// Notes when `key` is due next, if ever.
    pub fn set(&mut self, key: K, deadline: Option<Time>) {
        let before = match deadline {
            Some(deadline) => self.of.insert(key, deadline),
            None => self.of.remove(&key),
        };
        if before == deadline {
            return;
        }
        if let Some(before) = before {
            self.in_order.remove(&(before, key));
        }
        if let Some(deadline) = deadline {
            self.in_order.insert((deadline, key));
        }
    }

    /// When the first of all is due.
    pub fn first(&self) -> Option<Time> {
        self.in_order.first().map(|(deadline, _)| *deadline)
    }

    /// Those that are due, the first first. They stay so until their deadlines are set anew.
    pub fn due(&self, now: Time) -> impl Iterator<Item = K> {
        self.in_order.iter().take_while(move |(deadline, _)| *deadline <= now).map(|(_, key)| *key)
    }
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), in_order: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn those_that_are_due_come_in_the_order_of_their_deadlines() {
        let mut deadlines = Deadlines::default();
        for (key, deadline) in [('a', 30), ('b', 10), ('c', 20), ('d', 10)] {
            deadlines.set(key, Some(at(deadline)));
        }
        assert_eq!(deadlines.first(), Some(at(10)));
        assert_eq!(deadlines.due(at(20)).collect::<String>(), "bdc");
        assert_eq!(deadlines.due(at(9)).count(), 0);
        deadlines.set('b', Some(at(40)));
        deadlines.set('d', None);
        deadlines.set('c', Some(at(20)));
        assert_eq!(deadlines.due(at(40)).collect::<String>(), "cab");
        for key in ['a', 'b', 'c', 'd'] {
            deadlines.set(key, None);
        }
        assert_eq!(deadlines.first(), None);
    }

    thread_local! {
        static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    /// A key that counts how often it is compared.
    #[derive(Clone, Copy, PartialEq, Eq)]
    struct Counted(u32);

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARED.set(COMPARED.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    /// Comparisons for each deadline that comes while each of `peers` is due every 20 s.
    fn comparisons(peers: u32) -> u64 {
        let every = 20_000_000_000;
        let mut deadlines = Deadlines::default();
        let start = |peer: u32| u64::from(peer) * every / u64::from(peers);
        (0..peers).for_each(|peer| deadlines.set(Counted(peer), Some(at(start(peer)))));
        COMPARED.set(0);
        for peer in 0..peers {
            let now = deadlines.first().expect("someone is due next");
            let due: Vec<_> = deadlines.due(now).collect();
            assert_eq!(due.iter().map(|key| key.0).collect::<Vec<_>>(), [peer]);
            due.into_iter().for_each(|key| deadlines.set(key, Some(at(now.as_nanos() + every))));
        }
        COMPARED.get() / u64::from(peers)
    }

    #[test]
    fn a_deadline_among_ten_thousand_costs_hardly_more_than_one_among_a_hundred() {
        let (few, many) = (comparisons(100), comparisons(10_000));
        assert!(few > 0 && many <= 3 * few, "{few} comparisons among 100, {many} among 10 000");
    }
}
