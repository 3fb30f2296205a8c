//! A small cache of bounded weight: what was used lately stays.

use std::{borrow::Borrow, collections::HashMap, fmt, hash::Hash};

use parking_lot::Mutex;

/// Two generations: when the young one is half of the limit it becomes the old one, and what was not used since goes.
pub(crate) struct Cache<K, V> {
    limit: usize,
    generations: Mutex<Generations<K, V>>,
}

struct Generations<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    weight: usize,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, generations: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new(), weight: 0 }) }
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut generations = self.generations.lock();
        if let Some((value, _)) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, weight)) = generations.old.remove_entry(key)?;
        generations.insert(key, value.clone(), weight, self.limit);
        Some(value)
    }

    pub(crate) fn insert(&self, key: K, value: V, weight: usize) {
        self.generations.lock().insert(key, value, weight, self.limit);
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut generations = self.generations.lock();
        if let Some((_, weight)) = generations.young.remove(key) {
            generations.weight -= weight;
        }
        generations.old.remove(key);
    }
}

impl<K: Eq + Hash, V> Generations<K, V> {
    fn insert(&mut self, key: K, value: V, weight: usize, limit: usize) {
        self.old.remove(&key);
        if let Some((_, before)) = self.young.insert(key, (value, weight)) {
            self.weight -= before;
        }
        self.weight += weight;
        if self.weight > limit / 2 {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_weight_is_bounded() {
        let cache = Cache::new(100);
        cache.insert("kept".to_owned(), 0, 1);
        for n in 0..1000 {
            cache.insert(n.to_string(), n, 1);
            assert_eq!(cache.get("kept"), Some(0), "after {n}");
        }
        let generations = cache.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 102);
    }

    #[test]
    fn what_is_replaced_or_removed_is_gone() {
        let cache = Cache::new(100);
        cache.insert("a".to_owned(), 1, 30);
        cache.insert("a".to_owned(), 2, 30);
        assert_eq!(cache.get("a"), Some(2));
        cache.remove("a");
        assert_eq!(cache.get("a"), None);
        assert_eq!(cache.generations.lock().weight, 0);
    }
}
