//! Requests to forget, true and forged, and a snapshot that is swept while others are looked at.

use std::collections::HashSet;

use bytes::Bytes;

use super::stage::Case;
use crate::base::id::ObjectHash;
use crate::codec::sign::Signer;
use crate::engine::backup::tests::stage::{name, snapshots, target};
use crate::repository::error::RepositoryError;
use crate::repository::format::forget::ForgetRequest;
use crate::repository::format::names::pack_name;
use crate::repository::snapshots::list;
use crate::repository::sweep::{Step, Steps};
use crate::storage::contract::Storage;

/// Something that may happen at every step.
struct Always<'f>(&'f (dyn Fn(Step) -> Result<(), RepositoryError> + Sync));

impl Steps for Always<'_> {
    fn reached(&self, step: Step) -> Result<(), RepositoryError> {
        (self.0)(step)
    }
}

/// `count` snapshots, oldest first, with nothing in common but their groups.
fn some(count: u64) -> (Case, Vec<ObjectHash>) {
    let case = Case::new();
    let mut ids = vec![snapshots(&case.memory).0[0].id];
    for round in 1..count {
        for number in 0..8 {
            case.write(&format!("big-{number}"), 800 * round + number);
        }
        ids.push(case.backup());
    }
    (case, ids)
}

#[test]
fn a_forged_request_to_forget_hides_nothing_and_dooms_nothing() {
    let (case, ids) = some(2);
    let (old, repo) = (ids[0], case.stage.repository.id());
    let request = ForgetRequest { snapshot: old };
    let foreign = request.encode(&repo, &Signer::from_seed(&[5; 32])).expect("encoded");
    // The administrator's word, under a name that it does not speak of.
    case.stage.request(&case.memory, &ids[1]);
    let place = target(case.storage());
    let other = name(&format!("f/{}", ids[1]));
    let misnamed =
        case.memory.get(&other, crate::storage::contract::Span::Whole, crate::storage::contract::Read::Quick);
    case.memory.delete(&other).expect("deleted");
    let forgeries =
        [Bytes::new(), Bytes::from_static(b"forget"), Bytes::from(foreign), misnamed.expect("read")];
    let forged = name(&format!("f/{old}"));
    for (number, forgery) in forgeries.into_iter().enumerate() {
        case.memory.put_new(&forged, forgery).expect("put");
        for format in [Some(case.stage.repository.format()), None] {
            let listed = list(&place, format).expect("listed");
            assert_eq!((listed.valid.len(), listed.forgotten.len()), (2, 0), "forgery {number}");
        }
        case.prune(&Case::request()).expect("pruned");
        assert_eq!(case.is_whole(&format!("forgery {number}")), 2);
        case.memory.delete(&forged).expect("deleted");
    }
    case.stage.request(&case.memory, &old);
    for format in [Some(case.stage.repository.format()), None] {
        let listed = list(&place, format).expect("listed");
        assert_eq!((listed.valid.len(), listed.forgotten.len()), (1, 1));
    }
    case.prune(&Case::request()).expect("pruned");
    assert_eq!(snapshots(&case.memory).0.len(), 1, "what the administrator asked for is done");
    assert_eq!(case.is_whole("requested"), 1);
}

#[test]
fn a_snapshot_swept_by_another_after_it_was_marked_is_no_damage() {
    let (case, ids) = some(3);
    case.forget(&ids[0]);
    let deed = |step: Step| {
        let (proposals, _) = snapshots(&case.memory);
        if step == Step::Marked && proposals.iter().any(|proposal| proposal.id == ids[1]) {
            let packs = |id: &ObjectHash| -> HashSet<_> {
                let name = proposals.iter().find(|proposal| proposal.id == *id).expect("there");
                case.stage.packs_of(&case.memory, name).into_iter().collect()
            };
            let (mine, others) = (packs(&ids[1]), packs(&ids[2]));
            case.forget(&ids[1]);
            for (class, hash) in mine.difference(&others) {
                case.memory.delete(&pack_name(*class, hash)).expect("deleted");
            }
        }
        Ok(())
    };
    case.prune_at(case.storage(), &Case::request(), &Always(&deed)).expect("no damage");
    assert_eq!(snapshots(&case.memory).0.len(), 1, "the sweep came to its mark");
    assert_eq!(case.is_whole("swept by another"), 1);
}
