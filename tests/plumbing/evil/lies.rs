//! Rows, runs, groups, snapshots and plans that say what is not so.

use lifeboat::base::clock::Timestamp;
use lifeboat::base::id::{BlobId, ObjectHash, WriterId};
use lifeboat::base::metadata::FileKind;
use lifeboat::repository::format::index_run::IndexRun;
use lifeboat::repository::format::keys::BlobKind;
use lifeboat::repository::format::names::{PackClass, plan_name};
use lifeboat::repository::format::object::{ObjectKind, encode};
use lifeboat::repository::format::pack::BlobRow;
use lifeboat::repository::format::plan::{Condemned, LiveRows, PlanBody};
use lifeboat::repository::format::snapshot::{PackSetRef, SnapshotRoot};
use lifeboat::repository::format::tlv::TlvWriter;
use lifeboat::repository::manifest::{Content, Entry};

use super::writer::{Blob, Evil, NAME, Stock, chunks, entry, file};
use super::{Case, Stand};
use crate::lab::{Lab, noise};

fn root() -> Entry {
    entry("", FileKind::Directory, b"")
}

/// A blob with another row.
fn said(blob: &Blob, change: impl FnOnce(&mut BlobRow)) -> Blob {
    let mut blob = blob.clone();
    change(&mut blob.row);
    blob
}

/// A snapshot of one file of these chunks, as they are stored.
fn of_chunk(evil: &Evil, named: &Blob, stored: Blob) -> ObjectHash {
    let victim = file("victim", chunks(&[named]), u64::from(named.row.plain_bytes));
    evil.commit_with(&[root(), victim], &[], &[stored])
}

#[test]
fn rows_that_say_what_their_blobs_are_not_are_refused() {
    let stand = Stand::new();
    let evil = &stand.evil;
    let chunk = |seed: u64| evil.blob(BlobKind::Chunk, &noise(seed, 50_000));
    let text = |seed: u64| evil.blob(BlobKind::Chunk, format!("{seed:06000}").as_bytes());
    let garbage = evil.blob(BlobKind::Chunk, &noise(99, 50_000));
    let id = chunk(1).row.id;
    let mut cases = vec![
        Case::refused(
            "a known id over garbage",
            of_chunk(evil, &chunk(1), said(&garbage, |row| row.id = id)),
        ),
        Case::refused(
            "a chunk that is called a group",
            of_chunk(evil, &chunk(2), said(&chunk(2), |row| row.kind = BlobKind::Group)),
        ),
        Case::refused(
            "a shorter length",
            of_chunk(evil, &text(3), said(&text(3), |row| row.plain_bytes -= 1)),
        ),
        Case::refused(
            "a longer length",
            of_chunk(evil, &text(4), said(&text(4), |row| row.plain_bytes = 16 << 20)),
        ),
        Case::told("another level", of_chunk(evil, &text(5), said(&text(5), |row| row.level = 19))),
    ];
    let short = file("victim", chunks(&[&chunk(6)]), 10);
    let long = file("victim", chunks(&[&chunk(6)]), 1 << 40);
    let stretched = file("victim", chunks(&[&said(&chunk(6), |row| row.plain_bytes = 60_000)]), 60_000);
    for (what, victim) in [("a file shorter than its chunk", short), ("a file longer than its chunk", long)] {
        cases.push(Case::refused(what, evil.commit_with(&[root(), victim], &[], &[chunk(6)])));
    }
    let id = evil.commit_with(&[root(), stretched], &[], &[chunk(6)]);
    cases.push(Case::not_restored("a chunk longer than its blob", id));
    let table = |lens: &[u32], bytes: usize| {
        let count = u32::try_from(lens.len()).expect("few").to_le_bytes();
        let lens = lens.iter().flat_map(|len| len.to_le_bytes()).collect::<Vec<u8>>();
        [&count[..], &lens, &vec![b'g'; bytes]].concat()
    };
    for (what, plain, offset, len) in [
        ("a group of 2^32 files", [&u32::MAX.to_le_bytes()[..], &[0; 100]].concat(), 0, 10),
        ("a group whose files end behind it", table(&[10, u32::MAX], 20), 0, 10),
        ("a group with bytes behind its files", table(&[10, 10], 40), 0, 10),
        ("a part behind the end of its group", table(&[10, 10], 20), 15, 1 << 23),
        ("an empty group", Vec::new(), 0, 0),
    ] {
        let group = evil.blob(BlobKind::Group, &plain);
        let content = Content::Group { blob: group.row.id, offset, len };
        let victim = file("victim", content, u64::from(len));
        cases.push(Case::refused(what, evil.commit_with(&[root(), victim], &[], &[group])));
    }
    let link = |path: &str, kind| {
        let mut entry = entry(path, kind, b"");
        (entry.meta.hard_link_group, entry.meta.ino) = (5, 5);
        entry
    };
    let linked =
        [root(), link("a", FileKind::Directory), link("b", FileKind::File), link("c", FileKind::Fifo)];
    cases.push(Case::told("one inode for a folder, a file, a pipe", evil.commit_with(&linked, &[], &[])));
    cases.iter().for_each(|case| stand.try_all(case));
    stand.look_at_all(&cases);
}

/// A run of a sound tree, spoilt.
fn with_run(evil: &Evil, seed: u64, spoil: impl FnOnce(&mut IndexRun)) -> ObjectHash {
    let chunk = evil.blob(BlobKind::Chunk, &noise(seed, 50_000));
    let (tree, mut blobs) = evil.tree(&[root(), file("victim", chunks(&[&chunk]), 50_000)], &[]);
    blobs.push(chunk);
    let (mut run, packs) = evil.packed(&blobs);
    spoil(&mut run);
    let at = SnapshotRoot { path: b"/evil".to_vec(), node: tree.id, entries: 2, bytes: 50_000 };
    let name = evil.list(&run);
    evil.confirm(&evil.body(at, &Stock { name, packs }))
}

#[test]
fn runs_and_snapshots_that_lie_are_found_and_harm_nothing_else() {
    let stand = Stand::new();
    let evil = &stand.evil;
    let ghost = ObjectHash::new([6; 32]);
    let all = |run: &mut IndexRun, change: fn(&mut lifeboat::repository::format::index_run::RunEntry)| {
        run.entries.iter_mut().for_each(change);
        run.entries.sort_unstable();
    };
    let mut cases = vec![
        Case::told("other ordinals", with_run(evil, 1, |run| all(run, |entry| entry.ordinal += 1_000_000))),
        Case::told("blobs of a byte", with_run(evil, 2, |run| all(run, |entry| entry.stored_bytes = 1))),
        Case::told("the other pack", with_run(evil, 3, |run| all(run, |entry| entry.pack = 1 - entry.pack))),
        Case::told(
            "packs of 2^64 bytes",
            with_run(evil, 4, |run| {
                run.packs.iter_mut().for_each(|pack| pack.bytes = u64::MAX);
            }),
        ),
        Case::told(
            "footers somewhere else",
            with_run(evil, 5, |run| {
                run.packs.iter_mut().for_each(|pack| pack.foot_offset = 1);
            }),
        ),
        Case::told(
            "another signer",
            with_run(evil, 6, |run| {
                run.packs.iter_mut().for_each(|pack| pack.signer = WriterId::new([1; 16]));
            }),
        ),
        Case::told("a pack that isn't there", with_run(evil, 7, |run| run.packs[0].hash = ghost)),
        Case::told(
            "packs moved into themselves",
            with_run(evil, 8, |run| {
                run.moved = run.packs.iter().map(|pack| (pack.hash, pack.hash)).collect();
                run.moved.sort_unstable();
            }),
        ),
    ];
    let (tree, blobs) = evil.tree(&[root(), entry("victim", FileKind::Directory, b"")], &[]);
    let stock = evil.stow(&blobs);
    let at = || SnapshotRoot { path: b"/evil".to_vec(), node: tree.id, entries: 2, bytes: 0 };
    let body = || evil.body(at(), &stock);
    let slack = evil.confirm_bytes(&body().encode(), |bytes| bytes.extend_from_slice(&[0; 100]));
    cases.push(Case::refused("slack behind a snapshot", slack));
    let mut absent = body();
    absent.pack_set = PackSetRef::Inline(vec![(PackClass::Data, ghost)]);
    cases.push(Case::told("a pack that was never there", evil.confirm(&absent)));
    let mut lone = body();
    (lone.index_runs, lone.parent, lone.base_full) = (vec![ghost], Some(ghost), Some(ghost));
    cases.push(Case::told("runs and parents that were never there", evil.confirm(&lone)));
    let mut nowhere = body();
    nowhere.roots[0].node = BlobId::new([3; 32]);
    cases.push(Case::refused("a root that was never there", evil.confirm(&nowhere)));
    let mut path = body();
    path.roots[0].path = b"../../../../etc\0\x1b[31m".to_vec();
    cases.push(Case::told("a root with a hostile path", evil.confirm(&path)));
    cases.iter().for_each(|case| stand.try_all(case));
    stand.look_at_all(&cases);
}

/// A plan in the administrator's name, of this body.
fn plan(evil: &Evil, body: &[u8]) {
    let header = evil.header(ObjectKind::Plan, &evil.admin, 0);
    let (bytes, id) = encode(&header, &[], body, &evil.admin, Some(&evil.keys)).expect("small");
    let at = Timestamp::from_unix_ms(1_700_000_000_000);
    evil.write(plan_name(at, &id).as_str(), &bytes);
}

fn packs_of(lab: &Lab) -> Vec<(PackClass, ObjectHash)> {
    let class = |path: &std::path::Path| {
        let text = path.to_str()?;
        let class = if text.contains("/one/p/") {
            PackClass::Data
        } else if text.contains("/one/m/") {
            PackClass::Meta
        } else {
            return None;
        };
        Some((class, path.file_name()?.to_str()?.parse().ok()?))
    };
    crate::lab::files(&lab.path("one")).iter().filter_map(|path| class(path)).collect()
}

/// Somebody with the administrator's key condemns everything that is needed, says that nothing in it
/// was live and that it was moved into a pack that doesn't hold it: what is needed is looked for
/// again before anything goes.
#[test]
fn forged_plans_and_moves_delete_nothing_that_a_snapshot_needs() {
    let stand = Stand::new();
    let (evil, lab) = (&stand.evil, &stand.lab);
    let needed = packs_of(lab);
    assert!(needed.len() >= 2, "{needed:?}");
    let condemned = |rows: u32| {
        needed.iter().map(move |(class, hash)| Condemned {
            class: *class,
            hash: *hash,
            live: LiveRows::new(rows),
        })
    };
    let proposals: Vec<String> = crate::lab::files(&lab.path("one/s"))
        .iter()
        .map(|path| format!("s/{}", path.file_name().and_then(|name| name.to_str()).expect("plain")))
        .filter(|name| !name.ends_with(".ok"))
        .collect();
    for rows in [0, 1, 1000] {
        let body = PlanBody::of_mark(condemned(rows).collect(), proposals.clone(), proposals.clone());
        let (bytes, id) = body.seal(&evil.repo, &evil.admin, &evil.keys).expect("small");
        evil.write(plan_name(Timestamp::from_unix_ms(1_700_000_000_000), &id).as_str(), &bytes);
    }
    let elsewhere = evil.commit(&[root(), entry("victim", FileKind::Directory, b"")], *NAME, 2);
    let (mut run, _) = evil.packed(&[evil.blob(BlobKind::Chunk, b"nothing of it")]);
    let to = run.packs[0].hash;
    run.moved = needed
        .iter()
        .map(|(_, hash)| (*hash, to))
        .chain(needed.iter().map(|(_, hash)| (to, *hash)))
        .collect();
    run.moved.sort_unstable();
    evil.list(&run);
    let huge = |tag: u16, value: &[u8]| {
        let mut body = TlvWriter::new();
        body.put(1, &0u32.to_le_bytes()).put(2, &0u32.to_le_bytes()).put(tag, value);
        body.finish()
    };
    let prune = |what: &str| {
        let arguments =
            ["--grace", "0", "--accept-more-than-half", "--accept-clock"].map(std::ffi::OsStr::new);
        let said = super::limited(lab, "prune", &arguments);
        super::no_defect(&said, what);
        lab.restores_whole("one", &stand.honest, &lab.path("source"));
        said
    };
    prune("forged plans");
    prune("forged plans, again");
    lab.verify("one", &["--deep"], 0);
    // Plans that can't be read stop whoever has to heed them, and nothing else.
    plan(evil, &huge(3, &[&1u32.to_le_bytes()[..], &u32::MAX.to_le_bytes()].concat()));
    plan(evil, &huge(4, &u32::MAX.to_le_bytes()));
    plan(evil, &[&1u16.to_le_bytes()[..], &[0xff; 20]].concat());
    prune("plans that claim 2^32 rows and names");
    stand.try_all(&Case::told("a sound snapshot beside forged plans", elsewhere));
    super::no_defect(&super::limited(lab, "backup", &[lab.path("source").as_os_str()]), "backup");
    lab.restores_whole("one", &stand.honest, &lab.path("source"));
}
