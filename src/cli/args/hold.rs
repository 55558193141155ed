//! Arguments of `freeze`, `unfreeze` and `hold`.

use clap::{Args, Subcommand};

use crate::cli::examples;

/// Why, and who says so.
#[derive(Debug, Args)]
pub struct BecauseArgs {
    /// Why: one sentence for whoever reads the evidence log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Who decided it (default: the user who runs this)
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// `lifeboat freeze`, `lifeboat unfreeze`.
#[derive(Debug, Args)]
pub struct FreezeArgs {
    /// The policy (default: all)
    pub policy: Option<String>,
    /// Why.
    #[command(flatten)]
    pub because: BecauseArgs,
}

/// `lifeboat hold`.
#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// What keeps old snapshots from being removed
    #[command(after_help = examples::HOLD_LIST)]
    List {
        /// One policy only
        policy: Option<String>,
        /// Those that were released, too
        #[arg(long)]
        all: bool,
    },
    /// Let removal go on after somebody has looked
    #[command(after_help = examples::HOLD_RELEASE)]
    Release {
        /// The hold's id, as `hold list` prints it
        id: String,
        /// Why.
        #[command(flatten)]
        because: BecauseArgs,
    },
}
