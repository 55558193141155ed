//! What a command may take of its targets and its machine.

use clap::Args;

use crate::base::priority::IoPriority;

/// Limits of one command. They come before what the configuration says.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Bytes a second to each target: 5MB/s, or with days and hours "5MB/s mon-fri 08:00-18:00" (repeatable: the first
    /// that holds decides)
    #[arg(long, global = true, value_name = "RATE")]
    pub upload_limit: Vec<String>,
    /// Bytes a second from each target, in the same words. Of the policy's own only verify and drills take heed; a
    /// restore goes as fast as it can
    #[arg(long, global = true, value_name = "RATE")]
    pub download_limit: Vec<String>,
    /// Threads that compute (default: one for each processor, at most 16)
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: Option<u32>,
    /// Step back behind other processes: 0 to 19, the nicest
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=19))]
    pub nice: Option<u8>,
    /// Turn at the disks: idle, or "best-effort 0" to "best-effort 7"
    #[arg(long, global = true, value_name = "CLASS")]
    pub ionice: Option<IoPriority>,
}
