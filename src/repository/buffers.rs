//! Pack buffers: a fixed number for the whole process, taken and given back.
//!
//! Whoever wants one waits until one is free: that wait is what slows the readers of the source
//! down to the speed of the targets, and what keeps memory at `count x capacity`.

use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::base::cancel::Cancel;

/// The pool. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Buffers {
    free: Receiver<Vec<u8>>,
    back: Sender<Vec<u8>>,
}

impl Buffers {
    /// A pool of `count` buffers, whose memory is touched only as far as it is used.
    pub(crate) fn new(count: usize, capacity_bytes: usize) -> Self {
        let (back, free) = bounded(count);
        for _ in 0..count {
            // Cannot fail: the channel has room for exactly these.
            drop(back.send(Vec::with_capacity(capacity_bytes)));
        }
        Self { free, back }
    }

    /// An empty buffer, waited for as long as nobody cancels.
    pub(crate) fn take(&self, cancel: &Cancel) -> Option<Vec<u8>> {
        loop {
            match self.free.recv_timeout(Duration::from_millis(200)) {
                Ok(mut buffer) => {
                    buffer.clear();
                    return Some(buffer);
                }
                Err(RecvTimeoutError::Timeout) if !cancel.is_cancelled() => {}
                Err(_) => return None,
            }
        }
    }

    /// Shares a filled buffer; it returns to the pool when the last reader drops it.
    pub(crate) fn share(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Shared { buffer, back: self.back.clone() })
    }
}

struct Shared {
    buffer: Vec<u8>,
    back: Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.back.try_send(std::mem::take(&mut self.buffer)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_reader_is_gone() {
        let cancel = Cancel::new();
        let pool = Buffers::new(1, 16);
        let mut buffer = pool.take(&cancel).expect("one is free");
        buffer.extend_from_slice(b"abc");
        let shared = pool.share(buffer);
        let second = shared.clone();
        drop(shared);
        assert!(pool.free.is_empty(), "a reader still has it");
        assert_eq!(&second[..], b"abc");
        drop(second);
        assert_eq!(pool.take(&cancel).expect("it is back").len(), 0);
    }

    #[test]
    fn waiting_ends_when_cancelled() {
        let cancel = Cancel::new();
        let pool = Buffers::new(0, 0);
        cancel.cancel();
        assert!(pool.take(&cancel).is_none());
    }
}
