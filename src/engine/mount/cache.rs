//! A cache bounded in bytes. What several ask for at once is loaded once.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Values by key, the least recently used ones dropped when all together are too large.
pub(super) struct Cache<K: Hash + Eq + Copy, V> {
    state: Mutex<State<K, V>>,
    /// Something was loaded, or could not be.
    changed: Condvar,
    bytes_max: usize,
}

struct State<K: Hash + Eq + Copy, V> {
    kept: LruCache<K, (V, usize)>,
    bytes: usize,
    loading: HashSet<K>,
}

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, V> {
    pub(super) fn new(bytes_max: usize) -> Self {
        let state = State { kept: LruCache::unbounded(), bytes: 0, loading: HashSet::new() };
        Self { state: Mutex::new(state), changed: Condvar::new(), bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a value is there or on its way.
    pub(super) fn has(&self, key: &K) -> bool {
        let state = self.lock();
        state.kept.contains(key) || state.loading.contains(key)
    }

    /// The value of a key; `load` gives it and its bytes when it is not there. A failure is not
    /// remembered: whoever waited for it tries for himself.
    ///
    /// # Errors
    /// Those of `load`.
    pub(super) fn get<E>(&self, key: K, load: impl FnOnce() -> Result<(V, usize), E>) -> Result<V, E> {
        let mut state = self.lock();
        loop {
            if let Some((value, _)) = state.kept.get(&key) {
                return Ok(value.clone());
            }
            if state.loading.insert(key) {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        let loading = Loading { cache: self, key };
        let (value, bytes) = load()?;
        let mut state = self.lock();
        state.bytes += bytes;
        if let Some((_, before)) = state.kept.put(key, (value.clone(), bytes)) {
            state.bytes -= before;
        }
        while state.bytes > self.bytes_max && state.kept.len() > 1 {
            if let Some((_, (_, bytes))) = state.kept.pop_lru() {
                state.bytes -= bytes;
            }
        }
        drop(state);
        drop(loading);
        Ok(value)
    }
}

/// Ends the waiting of others, also after a failure or a panic.
struct Loading<'c, K: Hash + Eq + Copy, V: Clone> {
    cache: &'c Cache<K, V>,
    key: K,
}

impl<K: Hash + Eq + Copy, V: Clone> Drop for Loading<'_, K, V> {
    fn drop(&mut self) {
        self.cache.lock().loading.remove(&self.key);
        self.cache.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn it_never_holds_more_bytes_than_it_may_and_drops_the_least_used() {
        let cache: Cache<u32, u32> = Cache::new(100);
        let load = |key: u32| cache.get(key, || Ok::<_, ()>((key, 30))).expect("it loads");
        for key in 0..50 {
            assert_eq!((load(key), load(0)), (key, 0));
            let state = cache.lock();
            assert!(state.bytes <= 100 && state.bytes == 30 * state.kept.len());
        }
        assert!(cache.has(&0) && cache.has(&49) && !cache.has(&10));
    }

    #[test]
    fn what_many_ask_for_is_loaded_once_and_a_failure_is_tried_again() {
        let cache: Cache<u32, u32> = Cache::new(100);
        let (loads, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (tell, told) = std::sync::mpsc::channel();
        let told = Mutex::new(told);
        let load = |tell: &std::sync::mpsc::Sender<()>| match loads.fetch_add(1, Ordering::SeqCst) {
            0 => {
                // Gives a second one the time to begin, which it must not.
                let second = told.lock().expect("alone").recv_timeout(std::time::Duration::from_millis(100));
                assert!(second.is_err(), "two load one value at a time");
                Err(())
            }
            _ => {
                // Nobody may be waiting for it any more.
                let _ = tell.send(());
                Ok((7, 1))
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let (tell, load, cache, failed) = (tell.clone(), &load, &cache, &failed);
                scope.spawn(move || match cache.get(1, || load(&tell)) {
                    Ok(value) => assert_eq!(value, 7),
                    Err(()) => {
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((loads.into_inner(), failed.into_inner()), (2, 1));
    }
}
