//! Whether packs are where the index says they are. Index entries are hints; this looks.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::access::Target;
use super::error::RepositoryError;
use super::format::names::{PackClass, content_hash, pack_name};
use crate::base::id::ObjectHash;
use crate::storage::contract::Storage;

/// Up to this many packs are looked at one by one; more are found in a listing, which costs a
/// request for each thousand packs of the target.
const HEADS_MAX: usize = 64;

/// Those of these packs that the target does not hold now.
///
/// # Errors
/// Whatever the target says.
pub(crate) fn missing(
    target: &Target,
    packs: &[(PackClass, ObjectHash)],
) -> Result<HashSet<ObjectHash>, RepositoryError> {
    let storage = target.storage.as_ref();
    let mut missing = HashSet::new();
    if packs.len() <= HEADS_MAX {
        for (class, hash) in packs {
            if storage.head(&pack_name(*class, hash))?.is_none() {
                missing.insert(*hash);
            }
        }
        return Ok(missing);
    }
    for class in [PackClass::Data, PackClass::Meta] {
        let wanted = packs.iter().filter(|(of, _)| *of == class).map(|(_, hash)| *hash);
        let mut wanted: HashSet<ObjectHash> = wanted.collect();
        if !wanted.is_empty() {
            strike_out(storage, class, &mut wanted)?;
        }
        missing.extend(wanted);
    }
    Ok(missing)
}

/// Takes what is listed out of what is wanted.
fn strike_out(
    storage: &dyn Storage,
    class: PackClass,
    wanted: &mut HashSet<ObjectHash>,
) -> Result<(), RepositoryError> {
    let prefix = match class {
        PackClass::Data => "p/",
        PackClass::Meta => "m/",
    };
    storage.list(prefix, &mut |stat| {
        // Only the very name counts: a file elsewhere is not the pack.
        if let Some(hash) = content_hash(&stat.name).filter(|hash| pack_name(class, hash) == stat.name) {
            wanted.remove(&hash);
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::storage::memory::MemoryStorage;

    #[test]
    fn few_are_looked_at_and_many_are_listed_with_the_same_answer() {
        let storage = Arc::new(MemoryStorage::new());
        let pack = |number: u8| {
            let class = if number.is_multiple_of(3) { PackClass::Meta } else { PackClass::Data };
            (class, ObjectHash::new([number; 32]))
        };
        let all: Vec<_> = (0..200).map(pack).collect();
        for (class, hash) in all.iter().filter(|(_, hash)| hash.as_bytes()[0].is_multiple_of(2)) {
            storage.put_new(&pack_name(*class, hash), Bytes::new()).expect("put");
        }
        let target = Target { name: "memory".to_owned(), storage, in_flight: 1 };
        for packs in [&all[..HEADS_MAX], &all[..]] {
            let gone = missing(&target, packs).expect("looked");
            let expected: HashSet<ObjectHash> =
                packs.iter().map(|(_, hash)| *hash).filter(|h| h.as_bytes()[0] % 2 == 1).collect();
            assert_eq!(gone, expected);
        }
    }
}
