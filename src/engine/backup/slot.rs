//! A result that one thread waits for and another one delivers.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::base::cancel::Cancel;

/// The receiving end, shared with the [`Delivery`].
#[derive(Debug)]
pub(super) struct Slot<T> {
    value: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
enum State<T> {
    Waiting,
    There(T),
    /// The worker ended without delivering.
    Lost,
}

/// The delivering end. Dropping it without a delivery wakes the waiter, so that a worker that
/// panics or gives up ends the run instead of hanging it.
#[derive(Debug)]
pub(super) struct Delivery<T>(Arc<Slot<T>>);

/// A slot and its delivery.
pub(super) fn slot<T>() -> (Arc<Slot<T>>, Delivery<T>) {
    let slot = Arc::new(Slot { value: Mutex::new(State::Waiting), changed: Condvar::new() });
    (Arc::clone(&slot), Delivery(slot))
}

impl<T> Slot<T> {
    /// Waits for at most `limit`; says whether waiting is over: the value is there or never comes.
    pub(super) fn is_settled_within(&self, limit: Duration) -> bool {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State<T>| matches!(state, State::Waiting);
        let waited = self.changed.wait_timeout_while(value, limit, waits);
        !matches!(*waited.unwrap_or_else(PoisonError::into_inner).0, State::Waiting)
    }

    /// Waits for the value and lets `use_it` look at it; `None` when it will never come.
    pub(super) fn with<R>(&self, cancel: &Cancel, use_it: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &mut *value {
                State::There(there) => return Some(use_it(there)),
                State::Lost => return None,
                State::Waiting if cancel.is_cancelled() => return None,
                State::Waiting => {
                    let waited = self.changed.wait_timeout(value, Duration::from_millis(200));
                    value = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

impl<T> Delivery<T> {
    /// Hands the value over.
    pub(super) fn deliver(self, value: T) {
        *self.0.value.lock().unwrap_or_else(PoisonError::into_inner) = State::There(value);
    }
}

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        let mut value = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*value, State::Waiting) {
            *value = State::Lost;
        }
        drop(value);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_never_delivers_wakes_the_waiter() {
        let (slot, delivery) = slot::<u8>();
        let waiter = std::thread::spawn(move || slot.with(&Cancel::new(), |value| *value));
        drop(delivery);
        assert_eq!(waiter.join().expect("the waiter ends"), None);
    }

    #[test]
    fn a_delivered_value_is_seen() {
        let (slot, delivery) = slot();
        assert!(!slot.is_settled_within(Duration::from_millis(1)));
        delivery.deliver(7u8);
        assert!(slot.is_settled_within(Duration::from_secs(100)));
        assert_eq!(slot.with(&Cancel::new(), |value| *value), Some(7));
    }
}
