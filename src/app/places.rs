//! From URLs to targets of a repository.

use std::path::PathBuf;
use std::sync::Arc;

use super::limits::Traffic;
use crate::base::error::Failure;
use crate::base::service::Overseer;
use crate::engine::context::Context;
use crate::repository::access::Target;
use crate::repository::error::RepositoryError;
use crate::storage::contract::StorageError;
use crate::storage::place::{Access, Opening, Place, PlaceOptions};

/// Uploads and downloads at once: one disk is not quicker for two, a network is.
const IN_FLIGHT_LOCAL: usize = 1;
const IN_FLIGHT_S3: usize = 2;

/// Opens a place as a target with this name.
///
/// # Errors
/// When the URL is wrong or the place cannot be opened; a folder that doesn't exist holds no
/// repository.
pub fn open_target(
    name: &str,
    url: &str,
    options: &PlaceOptions,
    access: Access,
    traffic: &Traffic,
    cx: &Context,
) -> Result<Target, Failure> {
    let place = Place::parse(url, options)?;
    let opening = Opening { throttle: traffic.throttle(cx), ..Opening::new(access, Arc::clone(&cx.clock)) };
    let storage = place.open(&opening).map_err(|error| match error {
        StorageError::NoPlace { place, what: "folder" } => RepositoryError::NoRepository { place },
        error => error.into(),
    })?;
    let in_flight = if place.is_local() { IN_FLIGHT_LOCAL } else { IN_FLIGHT_S3 };
    Ok(Target { name: name.to_owned(), storage, in_flight })
}

/// Where local state lives: the flag, the environment's word, the usual folders.
pub fn state_dir(flag: Option<PathBuf>, environment: Environment) -> PathBuf {
    flag.or(environment.state_dir).unwrap_or_else(|| {
        if environment.is_root {
            PathBuf::from("/var/lib/lifeboat")
        } else {
            let home = environment.home.unwrap_or_else(|| PathBuf::from("/"));
            home.join(".local/state/lifeboat")
        }
    })
}

/// What the process was started in; read once by the terminal face.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `$LIFEBOAT_STATE_DIR`.
    pub state_dir: Option<PathBuf>,
    /// `$LIFEBOAT_CONFIG`.
    pub config: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// Whether the process has root's rights.
    pub is_root: bool,
    /// Who looks after this service.
    pub overseer: Overseer,
    /// Who is logged in, behind `sudo` if there is one.
    pub user: Option<String>,
}

impl Environment {
    /// The name that records of what a person did carry.
    pub fn user(&self) -> String {
        let unknown = || format!("uid {}", rustix::process::geteuid().as_raw());
        self.user.clone().unwrap_or_else(unknown)
    }
}
