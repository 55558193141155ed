//! The scheduler's life: ticks, queue, child processes, orderly stop.
