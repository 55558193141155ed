//! The one suite that every driver and every layer passes.
//!
//! Each promise gets a storage of its own from `make`, empty, and panics with the promise's name
//! when it is broken. `make` must give places that don't see each other.

use std::ops::ControlFlow;
use std::sync::{Arc, Barrier};

use bytes::Bytes;

use super::contract::{ObjectName, Put, Read, Span, Storage, StorageError, list_all};

type Promise = (&'static str, fn(&dyn Storage));

const SPECIAL: &[(Except, Promise)] = &[
    (Except::Races, ("sixteen creators of one name have one winner", one_winner_among_sixteen)),
    (Except::MixedFolders, ("a list is sorted across folders by whole names", list_is_sorted_across_folders)),
];

const PROMISES: &[Promise] = &[
    ("an object comes back as it was put", comes_back_as_put),
    ("an empty object is an object", empty_object_is_an_object),
    ("every byte value survives", every_byte_value_survives),
    ("an object of 40 MiB comes back whole and in ranges", large_object_comes_back),
    ("a second put changes nothing and says so", second_put_changes_nothing),
    ("a second put of another length changes nothing", second_put_of_other_length_changes_nothing),
    ("a put under a fresh name says which name", fresh_put_says_its_name),
    ("a replacement takes the place of what was there, or of nothing", replacement_takes_the_place),
    ("many threads put and get at once", many_threads_at_once),
    ("ranges end at the end of the object", ranges_end_at_the_end),
    ("ranges of an empty object are empty", ranges_of_an_empty_object_are_empty),
    ("the last bytes are found without knowing the length", last_bytes),
    ("a medium read gives the same bytes", medium_read_gives_the_same),
    ("an absent object is not found, in every span", absent_is_not_found),
    ("an absent object has no stat", absent_has_no_stat),
    ("a stat tells name and length", stat_tells_name_and_length),
    ("a list is complete at once", list_is_complete_at_once),
    ("a list of 1,100 names is complete, sorted and without doubles", list_is_sorted_across_pages),
    ("a list ends when the visitor has enough", list_ends_when_told),
    ("a list goes on after a name", list_goes_on_after_a_name),
    ("a prefix need not end at a component", prefix_inside_a_component),
    ("a prefix that is a whole name finds it", prefix_that_is_a_name),
    ("a hostile prefix finds nothing", hostile_prefix_finds_nothing),
    ("a visitor may use the storage", visitor_may_use_the_storage),
    ("what was deleted is gone everywhere", deleted_is_gone),
    ("deleting what is absent succeeds", deleting_absent_succeeds),
    ("a deleted name can be created again", deleted_name_can_be_created_again),
    ("long names work", long_names_work),
    ("sync succeeds, also twice and with nothing to do", sync_succeeds),
    ("facts can be asked", facts_can_be_asked),
];

/// What a kind of store is known not to do; its driver says so in its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Except {
    /// Deciding a race: there is no conditional create.
    Races,
    /// Sorting `a-b` before `a/b`: the store sorts folder by folder.
    MixedFolders,
}

/// Holds storages made by `make` to every promise.
///
/// # Panics
/// When one is broken; the message names it.
pub fn run(make: impl Fn() -> Arc<dyn Storage>) {
    run_except(&[], make);
}

/// As [`run`], without what that kind of store is known not to do.
///
/// # Panics
/// As [`run`].
pub fn run_except(except: &[Except], make: impl Fn() -> Arc<dyn Storage>) {
    let special = SPECIAL.iter().filter(|(kind, _)| !except.contains(kind)).map(|(_, promise)| promise);
    for (promise, check) in special.chain(PROMISES) {
        let storage = make();
        let kept = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(storage.as_ref())));
        assert!(kept.is_ok(), "{} broke the promise: {promise}", storage.label());
    }
}

fn name(text: &str) -> ObjectName {
    text.parse().expect("the suite uses valid names")
}

fn put(storage: &dyn Storage, text: &str, bytes: &[u8]) {
    let put = storage.put_new(&name(text), Bytes::copy_from_slice(bytes)).expect("put");
    assert_eq!(put, Put::Created, "{text}");
}

fn whole(storage: &dyn Storage, text: &str) -> Bytes {
    storage.get(&name(text), Span::Whole, Read::Quick).expect("get")
}

fn replacement_takes_the_place(storage: &dyn Storage) {
    put(storage, "p/ab/one", &[1; 5000]);
    for (text, len) in [("p/ab/one", 3), ("p/ab/one", 100_000), ("p/cd/two", 7)] {
        storage.replace(&name(text), Bytes::from(pattern(len))).expect("replace");
        storage.sync().expect("sync");
        assert_eq!(whole(storage, text), pattern(len), "{text}");
        assert_eq!(storage.head(&name(text)).expect("head").map(|stat| stat.bytes), u64::try_from(len).ok());
    }
    assert_eq!(names(storage, "p/"), ["p/ab/one", "p/cd/two"]);
}

fn names(storage: &dyn Storage, prefix: &str) -> Vec<String> {
    list_all(storage, prefix).expect("list").into_iter().map(|stat| stat.name.to_string()).collect()
}

/// Bytes without a period that a page or a block would hide.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..len).map(|_| next()).collect()
}

fn comes_back_as_put(storage: &dyn Storage) {
    put(storage, "p/ab/one", b"hello");
    assert_eq!(whole(storage, "p/ab/one"), &b"hello"[..]);
}

fn empty_object_is_an_object(storage: &dyn Storage) {
    put(storage, "empty", b"");
    assert_eq!(whole(storage, "empty"), Bytes::new());
    assert_eq!(storage.head(&name("empty")).expect("head").map(|stat| stat.bytes), Some(0));
    assert_eq!(names(storage, ""), ["empty"]);
}

fn every_byte_value_survives(storage: &dyn Storage) {
    let bytes: Vec<u8> = (0..=255).chain(b"\r\n\n\r\0\0".iter().copied()).collect();
    put(storage, "bytes", &bytes);
    assert_eq!(whole(storage, "bytes"), bytes);
}

fn large_object_comes_back(storage: &dyn Storage) {
    let bytes = Bytes::from(pattern(40 * 1024 * 1024 + 13));
    assert_eq!(storage.put_new(&name("p/00/large"), bytes.clone()).expect("put"), Put::Created);
    assert!(whole(storage, "p/00/large") == bytes);
    let (offset, len) = (33 * 1024 * 1024 + 1, 100_001);
    let span = Span::Range { offset: 33 * 1024 * 1024 + 1, len: 100_001 };
    let part = storage.get(&name("p/00/large"), span, Read::Quick).expect("get");
    assert!(part == bytes[offset..offset + len]);
}

fn second_put_changes_nothing(storage: &dyn Storage) {
    put(storage, "once", b"first");
    let again = storage.put_new(&name("once"), Bytes::from_static(b"other")).expect("put");
    assert_eq!(again, Put::Existing);
    assert_eq!(whole(storage, "once"), &b"first"[..]);
}

fn second_put_of_other_length_changes_nothing(storage: &dyn Storage) {
    put(storage, "once", b"");
    let again = storage.put_new(&name("once"), pattern(2_000_000).into()).expect("put");
    assert_eq!(again, Put::Existing);
    assert_eq!(whole(storage, "once"), Bytes::new());
}

fn fresh_put_says_its_name(storage: &dyn Storage) {
    let mut drawn = 0;
    let mut next = || {
        drawn += 1;
        name(&format!("s/fresh-{drawn}"))
    };
    let put = storage.put_fresh(&mut next, Bytes::from_static(b"fresh")).expect("put");
    assert_eq!(whole(storage, put.as_str()), &b"fresh"[..]);
    let other = storage.put_fresh(&mut next, Bytes::from_static(b"other")).expect("put");
    assert!(other > put, "{other} after {put}");
    assert_eq!(whole(storage, put.as_str()), &b"fresh"[..]);
}

fn one_winner_among_sixteen(storage: &dyn Storage) {
    let barrier = Barrier::new(16);
    let created: Vec<u8> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..16u8)
            .map(|racer| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let put = storage.put_new(&name("s/race"), Bytes::from(vec![racer; 4096])).expect("put");
                    (put == Put::Created).then_some(racer)
                })
            })
            .collect();
        racers.into_iter().filter_map(|racer| racer.join().expect("no racer panics")).collect()
    });
    assert_eq!(created.len(), 1, "{created:?}");
    assert_eq!(whole(storage, "s/race"), vec![created[0]; 4096]);
    assert_eq!(names(storage, ""), ["s/race"]);
}

fn many_threads_at_once(storage: &dyn Storage) {
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            scope.spawn(move || {
                for number in 0..8 {
                    let object = format!("p/{thread:02x}/{number}");
                    put(storage, &object, &[thread; 1000]);
                    assert_eq!(whole(storage, &object), vec![thread; 1000]);
                }
            });
        }
    });
    assert_eq!(names(storage, "p/").len(), 64);
}

fn ranges_end_at_the_end(storage: &dyn Storage) {
    put(storage, "r", b"0123456789");
    let range = |offset, len| storage.get(&name("r"), Span::Range { offset, len }, Read::Quick).expect("get");
    assert_eq!(range(0, 10), &b"0123456789"[..]);
    assert_eq!(range(3, 4), &b"3456"[..]);
    assert_eq!(range(8, 100), &b"89"[..]);
    assert_eq!(range(9, 1), &b"9"[..]);
    assert_eq!(range(0, 0), Bytes::new());
    assert_eq!(range(10, 1), Bytes::new());
    assert_eq!(range(1000, 5), Bytes::new());
    assert_eq!(range(4, u64::MAX), &b"456789"[..]);
    assert_eq!(range(u64::MAX, u64::MAX), Bytes::new());
}

fn ranges_of_an_empty_object_are_empty(storage: &dyn Storage) {
    put(storage, "e", b"");
    for span in [Span::Range { offset: 0, len: 5 }, Span::Last { len: 5 }, Span::Last { len: 0 }] {
        assert_eq!(storage.get(&name("e"), span, Read::Quick).expect("get"), Bytes::new(), "{span:?}");
    }
}

fn last_bytes(storage: &dyn Storage) {
    put(storage, "l", b"0123456789");
    let last = |len| storage.get(&name("l"), Span::Last { len }, Read::Quick).expect("get");
    assert_eq!(last(3), &b"789"[..]);
    assert_eq!(last(10), &b"0123456789"[..]);
    assert_eq!(last(11), &b"0123456789"[..]);
    assert_eq!(last(u64::MAX), &b"0123456789"[..]);
    assert_eq!(last(0), Bytes::new());
}

fn medium_read_gives_the_same(storage: &dyn Storage) {
    let bytes = pattern(3_000_001);
    put(storage, "m", &bytes);
    assert!(storage.get(&name("m"), Span::Whole, Read::Medium).expect("get") == bytes);
    let span = Span::Range { offset: 5_000, len: 70_000 };
    assert!(storage.get(&name("m"), span, Read::Medium).expect("get") == bytes[5_000..75_000]);
}

fn absent_is_not_found(storage: &dyn Storage) {
    put(storage, "p/ab/there", b"x");
    let spans = [
        Span::Whole,
        Span::Range { offset: 0, len: 5 },
        Span::Range { offset: 0, len: 0 },
        Span::Last { len: 4 },
        Span::Last { len: 0 },
    ];
    for absent in ["nothing", "p", "p/ab", "p/ab/ther", "p/ab/theree", "p/ab/there/x"] {
        for span in spans {
            let got = storage.get(&name(absent), span, Read::Quick);
            assert!(
                matches!(&got, Err(StorageError::NotFound { name, .. }) if name.as_str() == absent),
                "{got:?}"
            );
        }
    }
}

fn absent_has_no_stat(storage: &dyn Storage) {
    put(storage, "p/ab/there", b"x");
    for absent in ["nothing", "p", "p/ab", "p/ab/there/x"] {
        assert_eq!(storage.head(&name(absent)).expect("head"), None, "{absent}");
    }
}

fn stat_tells_name_and_length(storage: &dyn Storage) {
    put(storage, "s/one", b"12345");
    let head = storage.head(&name("s/one")).expect("head").expect("there");
    assert_eq!((head.name.as_str(), head.bytes), ("s/one", 5));
    let listed = list_all(storage, "s/").expect("list");
    assert_eq!(
        listed.iter().map(|stat| (stat.name.as_str(), stat.bytes)).collect::<Vec<_>>(),
        [("s/one", 5)]
    );
    // A store may round to seconds in one of the two.
    let apart = head.modified.since(listed[0].modified).max(listed[0].modified.since(head.modified));
    assert!(apart.as_millis() < 1000, "{apart:?}");
}

fn list_is_complete_at_once(storage: &dyn Storage) {
    for number in 0..20 {
        put(storage, &format!("i/0/{number:02}"), b"x");
        assert_eq!(names(storage, "i/").len(), number + 1);
    }
    assert_eq!(names(storage, "nothing/"), Vec::<String>::new());
}

fn list_is_sorted_across_folders(storage: &dyn Storage) {
    let mut all =
        ["a-b", "a.b", "a/b", "a/c/d", "a/c-d", "a0", "aT", "a_", "b", "ab/c", "a-b.c", "a/b-c", "a/b0"];
    for object in all {
        put(storage, object, b"x");
    }
    all.sort_unstable();
    assert_eq!(names(storage, ""), all);
    let below: Vec<&str> = all.into_iter().filter(|name| name.starts_with("a/")).collect();
    assert_eq!(names(storage, "a/"), below);
}

fn list_is_sorted_across_pages(storage: &dyn Storage) {
    let mut all: Vec<String> = (0..1100).map(|n: u32| format!("p/{:02x}/{n:04}", n % 7)).collect();
    std::thread::scope(|scope| {
        for part in all.chunks(all.len().div_ceil(8)) {
            scope.spawn(move || {
                for object in part {
                    put(storage, object, b"");
                }
            });
        }
    });
    all.sort_unstable();
    assert_eq!(names(storage, "p/"), all);
}

fn list_ends_when_told(storage: &dyn Storage) {
    for object in ["a", "b", "c", "d/e"] {
        put(storage, object, b"");
    }
    let mut seen = Vec::new();
    let mut visit = |stat: super::contract::Stat| {
        seen.push(stat.name.to_string());
        if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    storage.list("", &mut visit).expect("list");
    assert_eq!(seen, ["a", "b"]);
}

fn list_goes_on_after_a_name(storage: &dyn Storage) {
    let all = ["a/a", "a/b", "a/c/d", "b", "ba"];
    for object in all {
        put(storage, object, b"");
    }
    let after = |prefix: &str, after: &str| {
        let mut seen = Vec::new();
        let mut visit = |stat: super::contract::Stat| {
            seen.push(stat.name.to_string());
            ControlFlow::Continue(())
        };
        storage.list_after(prefix, Some(&name(after)), &mut visit).expect("list");
        seen
    };
    for (at, object) in all.iter().enumerate() {
        assert_eq!(after("", object), all[at + 1..], "after {object}");
    }
    assert_eq!(after("a/", "a/a"), ["a/b", "a/c/d"]);
    assert_eq!(after("a/", "a/bb"), ["a/c/d"]);
    assert_eq!(after("a/", "b"), Vec::<String>::new());
    assert_eq!(after("b", "a"), ["b", "ba"]);
}

fn prefix_inside_a_component(storage: &dyn Storage) {
    for object in ["s/2025-x", "s/2026-a", "s/2026-b/c", "t/2026"] {
        put(storage, object, b"");
    }
    assert_eq!(names(storage, "s/2026"), ["s/2026-a", "s/2026-b/c"]);
    assert_eq!(names(storage, "s"), ["s/2025-x", "s/2026-a", "s/2026-b/c"]);
}

fn prefix_that_is_a_name(storage: &dyn Storage) {
    for object in ["s/one", "s/one.ok", "s/onf"] {
        put(storage, object, b"");
    }
    assert_eq!(names(storage, "s/one"), ["s/one", "s/one.ok"]);
    assert_eq!(names(storage, "s/one.ok/"), Vec::<String>::new());
}

fn hostile_prefix_finds_nothing(storage: &dyn Storage) {
    put(storage, "p/ab/x", b"x");
    let long = "a".repeat(5000);
    for hostile in
        ["../", "/", "/etc/", "p/../p/", "p//", "./", "p/./", "\u{0}", "p/\u{0}", "%2e%2e/", "é", &long]
    {
        assert_eq!(names(storage, hostile), Vec::<String>::new(), "{hostile:?}");
    }
}

fn visitor_may_use_the_storage(storage: &dyn Storage) {
    for object in ["a", "b"] {
        put(storage, object, object.as_bytes());
    }
    let mut read = Vec::new();
    let mut visit = |stat: super::contract::Stat| {
        read.extend_from_slice(&whole(storage, stat.name.as_str()));
        storage.delete(&stat.name).expect("delete");
        ControlFlow::Continue(())
    };
    storage.list("", &mut visit).expect("list");
    assert_eq!(read, b"ab");
}

fn deleted_is_gone(storage: &dyn Storage) {
    put(storage, "p/ab/x", b"x");
    put(storage, "p/ab/y", b"y");
    storage.delete(&name("p/ab/x")).expect("delete");
    assert_eq!(names(storage, ""), ["p/ab/y"]);
    assert_eq!(storage.head(&name("p/ab/x")).expect("head"), None);
    let got = storage.get(&name("p/ab/x"), Span::Whole, Read::Quick);
    assert!(matches!(got, Err(StorageError::NotFound { .. })));
    storage.delete(&name("p/ab/y")).expect("delete");
    assert_eq!(names(storage, ""), Vec::<String>::new());
}

fn deleting_absent_succeeds(storage: &dyn Storage) {
    put(storage, "p/ab/x", b"x");
    for absent in ["nothing", "p/cd/x", "p/ab/xx"] {
        storage.delete(&name(absent)).expect("delete");
        storage.delete(&name(absent)).expect("delete again");
    }
    assert_eq!(names(storage, ""), ["p/ab/x"]);
}

fn deleted_name_can_be_created_again(storage: &dyn Storage) {
    put(storage, "again", b"one");
    storage.delete(&name("again")).expect("delete");
    put(storage, "again", b"two");
    assert_eq!(whole(storage, "again"), &b"two"[..]);
}

fn long_names_work(storage: &dyn Storage) {
    let component = "x".repeat(150);
    let longest = format!("{component}/{}", "y".repeat(ObjectName::BYTES_MAX - 151));
    for object in [longest, component.replace('x', "z")] {
        put(storage, &object, b"long");
        assert_eq!(whole(storage, &object), &b"long"[..]);
        assert_eq!(names(storage, &object), [object.as_str()]);
    }
}

fn sync_succeeds(storage: &dyn Storage) {
    storage.sync().expect("sync");
    put(storage, "p/ab/x", b"x");
    storage.sync().expect("sync");
    storage.delete(&name("p/ab/x")).expect("delete");
    storage.sync().expect("sync");
    storage.sync().expect("sync");
}

fn facts_can_be_asked(storage: &dyn Storage) {
    let facts = storage.facts().expect("facts");
    // A lock without versions exists nowhere.
    assert!(facts.object_lock != Some(true) || facts.versioning != Some(false), "{facts:?}");
}
