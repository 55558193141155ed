//! What each target begins with: sound inputs, made by the library's own builders.

use lifeboat::base::clock::Timestamp;
use lifeboat::base::id::{BlobId, ObjectHash};
use lifeboat::codec::kdf::{KdfParams, MEMORY_KIB_MIN};
use lifeboat::repository::format::index_run::{IndexRun, RunEntry, RunPack};
use lifeboat::repository::format::names::{PackClass, SnapshotName};
use lifeboat::repository::format::object::{Object, ObjectKind, Sealing};
use lifeboat::repository::format::pack_set;
use lifeboat::repository::format::plan::PlanBody;
use lifeboat::repository::format::slot::{SlotSecret, create_slot};
use lifeboat::repository::manifest::NodeKind;

use super::targets::{self, LEAF_ENTRIES, NODE_ENTRIES, largest, resealed};
use crate::support::{Repo, repo};

fn body_of(repo: &Repo, bytes: &[u8]) -> Vec<u8> {
    Object::decode(bytes, &repo.id, Some(&repo.keys)).expect("it was just made").body
}

fn run(repo: &Repo) -> IndexRun {
    let signer = repo.admin().id();
    let pack = |number: u8| RunPack {
        hash: ObjectHash::new([number; 32]),
        class: PackClass::Data,
        signer,
        bytes: 16 << 20,
        foot_offset: 15 << 20,
    };
    let entry = |number: u8| RunEntry {
        id: BlobId::new([number; 32]),
        pack: u32::from(number % 2),
        ordinal: u32::from(number),
        stored_bytes: 1000 + u32::from(number),
    };
    IndexRun { packs: vec![pack(1), pack(2)], entries: (1..40).map(entry).collect(), moved: Vec::new() }
}

/// The seeds of a target; none for those whose corpus is enough.
pub(super) fn of(target: &str) -> Vec<Vec<u8>> {
    let repo = repo();
    let packs =
        vec![(PackClass::Data, ObjectHash::new([1; 32])), (PackClass::Meta, ObjectHash::new([2; 32]))];
    let at = Timestamp::from_unix_ms(1_795_485_182_123);
    let name = SnapshotName::new(at, &repo.admin().id(), ObjectHash::new([5; 32]), [1; 8]);
    match target {
        "object" => vec![
            resealed(&repo, ObjectKind::Slot, Sealing::Clear, b"a body in the clear"),
            resealed(&repo, ObjectKind::Plan, Sealing::Epoch, b"a sealed body"),
        ],
        "pack_trailer" | "pack_footer" => vec![crate::packs::pack_of(&repo, &crate::packs::plains()).bytes],
        "index_run" => {
            let sealed = run(&repo).seal(&repo.id, &repo.admin(), &repo.keys).expect("small").0;
            vec![body_of(&repo, &sealed)]
        }
        "pack_list" => vec![pack_set::encode(&packs), pack_set::encode(&[])],
        "tree_leaf" => vec![largest(&targets::tree(LEAF_ENTRIES), NodeKind::Leaf).1.to_vec()],
        "tree_node" => vec![largest(&targets::tree(NODE_ENTRIES), NodeKind::Node).1.to_vec()],
        "snapshot" => vec![crate::bodies::filled(crate::bodies::snapshot().encode())],
        "repo_fmt" => {
            let bytes = repo.format.encode();
            vec![bytes[..bytes.len() - 32].to_vec()]
        }
        "key_slot" => {
            let cheap = KdfParams { memory_kib: MEMORY_KIB_MIN, passes: 1, lanes: 1 };
            let passphrase = SlotSecret::passphrase("correct horse");
            let made = create_slot(&repo.format.encode(), &repo.format, &repo.root, &passphrase, cheap);
            vec![body_of(&repo, &made.expect("sound").bytes)]
        }
        "plan" => {
            let plan = PlanBody::new(packs, vec![name.proposal().as_str().to_owned()]);
            let sealed = plan.seal(&repo.id, &repo.admin(), &repo.keys).expect("small").0;
            vec![body_of(&repo, &sealed)]
        }
        "chunker" => vec![(0..6_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()],
        "object_name" => vec![name.proposal().as_str().into(), name.confirmation().as_str().into()],
        _ => Vec::new(),
    }
}
