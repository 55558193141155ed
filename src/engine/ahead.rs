//! Work done ahead by several threads, its results taken in order.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::error::EngineError;

/// Does `work` on the jobs with this many threads and gives each result to `take` on the caller's,
/// in the order of the jobs, until one of them breaks off. At most twice as many results as there
/// are threads wait.
///
/// # Errors
/// The first of a job that cannot be named, and of `take`.
pub(super) fn in_order<J: Send, R: Send>(
    threads: usize,
    mut jobs: impl Iterator<Item = Result<J, EngineError>>,
    work: impl Fn(J) -> R + Sync,
    mut take: impl FnMut(R) -> Result<ControlFlow<()>, EngineError>,
) -> Result<(), EngineError> {
    let threads = threads.max(1);
    let waiting_max = 2 * threads;
    thread::scope(|scope| {
        // The caller alone bounds how much is waiting, so that it never blocks while handing out.
        let (hand, taken): (Sender<(J, Sender<R>)>, Receiver<_>) = bounded(waiting_max);
        for _ in 0..threads {
            let (taken, work) = (taken.clone(), &work);
            scope.spawn(move || {
                for (job, answer) in taken {
                    // Nobody waits for it any more when the work was broken off.
                    drop(answer.send(work(job)));
                }
            });
        }
        drop(taken);
        let mut waiting: VecDeque<Receiver<R>> = VecDeque::new();
        loop {
            while waiting.len() < waiting_max {
                let Some(job) = jobs.next().transpose()? else { break };
                let (answer, result) = bounded(1);
                if hand.send((job, answer)).is_err() {
                    return Err(EngineError::Defect { what: "a thread that reads ahead" });
                }
                waiting.push_back(result);
            }
            let Some(result) = waiting.pop_front() else { return Ok(()) };
            let result =
                result.recv().map_err(|_| EngineError::Defect { what: "a thread that reads ahead" })?;
            if take(result)?.is_break() {
                return Ok(());
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_come_in_order_and_no_more_is_done_ahead_than_may_wait() {
        let (begun, mut seen) = (AtomicUsize::new(0), Vec::new());
        let work = |number: usize| {
            begun.fetch_add(1, Ordering::SeqCst);
            number * 2
        };
        in_order(3, (0..1000).map(Ok), work, |double| {
            assert!(begun.load(Ordering::SeqCst) <= seen.len() + 6);
            seen.push(double);
            Ok(ControlFlow::Continue(()))
        })
        .expect("all of it");
        assert_eq!(seen, (0..1000).map(|number| number * 2).collect::<Vec<_>>());
    }

    #[test]
    fn it_ends_where_the_taker_breaks_off_and_at_the_first_error() {
        let mut taken = 0;
        in_order(
            2,
            (0..).map(Ok),
            |number: u64| number,
            |number| {
                taken += 1;
                Ok(if number == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            },
        )
        .expect("broken off");
        assert_eq!(taken, 11);
        let jobs = [Ok(1), Err(EngineError::Cancelled), Ok(2)];
        let done = in_order(2, jobs.into_iter(), |number| number, |_| Ok(ControlFlow::Continue(())));
        assert!(matches!(done, Err(EngineError::Cancelled)));
    }
}
