//! The runtime that all S3 storages of the process share.

use std::future::Future;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// Runs a future to its end on the calling thread; connections live on one worker thread.
///
/// # Errors
/// When the runtime cannot be made (no threads or descriptors left).
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("s3")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    match runtime {
        Ok(runtime) => Ok(runtime.block_on(future)),
        Err(reason) => Err(io::Error::other(reason.clone())),
    }
}
