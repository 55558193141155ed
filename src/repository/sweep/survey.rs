//! For every live blob, where it lies: one pass over the whole index, sorted by id.

use super::SweepError;
use super::mark::Mark;
use super::packs::Packs;
use super::roots;
use super::steps::Sweeping;
use crate::base::id::BlobId;
use crate::repository::index::Location;
use crate::repository::load;
use crate::storage::contract::ObjectName;

/// Shows every live blob with all its places that the target holds. Those of blobs that are
/// nowhere are not shown: below a valid root that is damage, and ends the work.
///
/// # Errors
/// `Hurt`; `Again` when another sweeper moved what seemed to be missing, or swept what needed it; whatever the local index
/// says, and `each`.
pub(super) fn survey(
    cx: &Sweeping<'_>,
    mark: &Mark,
    packs: &Packs,
    each: &mut dyn FnMut(&[Location]) -> Result<(), SweepError>,
) -> Result<(), SweepError> {
    let mut group = Group::default();
    for entry in mark.index.entries()? {
        let (id, at) = entry?;
        if group.id != id {
            cx.check()?;
            group.close(cx, mark, each)?;
            group.id = id;
        }
        group.is_live |= mark.is_live(at);
        group.is_needed |= mark.is_needed(at);
        if packs.of_number(at.pack).is_some() {
            group.places.push(at);
        }
    }
    group.close(cx, mark, each)
}

#[derive(Default)]
struct Group {
    id: BlobId,
    places: Vec<Location>,
    is_live: bool,
    is_needed: bool,
}

impl Group {
    fn close(
        &mut self,
        cx: &Sweeping<'_>,
        mark: &Mark,
        each: &mut dyn FnMut(&[Location]) -> Result<(), SweepError>,
    ) -> Result<(), SweepError> {
        if self.is_live && !self.places.is_empty() {
            each(&self.places)?;
        } else if self.is_needed && self.places.is_empty() {
            // Somebody may have moved it since the index was read, or forgotten what needed it.
            return Err(if load::list_runs(cx.target)? == mark.runs {
                let what =
                    format!("blob {}, which a snapshot needs, is in no pack that is there", self.id.short());
                let walked = mark.walked_names.iter().filter_map(|name| ObjectName::new(name.as_str()).ok());
                roots::lost(cx, walked, what)?
            } else {
                SweepError::Again { place: cx.place() }
            });
        }
        self.places.clear();
        self.is_live = false;
        self.is_needed = false;
        Ok(())
    }
}
