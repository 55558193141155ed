//! How a large file is cut: by its content, or in fixed blocks because it is changed in place.
//!
//! In this order: a stream (an archive, media, text) is cut by content. A known header of a paged
//! format is believed. Then the parent's version is asked: blocks stay blocks while enough of them
//! are where they were, and a file that was cut by content gets blocks when differences are
//! scattered among chunks that stayed in place. Last, a file without a parent that is long and
//! whole pages is taken for paged. A wrong answer costs room, never content: whatever is decided,
//! the chunks are what was read.

use super::content::Known;
use crate::codec::blocks::{BLOCK_BYTES_MAX, Form, Glimpse, HEAD_BYTES, TAIL_BYTES, block_bytes, form_of};
use crate::engine::cut::{Lengths, PlacedChunk, PlacedChunks};
use crate::repository::format::keys::{BlobKind, IdKeys};
use crate::repository::manifest::{BlobSource, Content};
use crate::source::files::OpenFile;

/// A file with a known header is cut into blocks from this size on: two content-defined chunks
/// would be half of a smaller one.
const KNOWN_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// Without a known header the file must have this size.
const UNKNOWN_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// Chunks of the parent's version that are compared before anything is decided. When one page in 400
/// was rewritten, a fifth of the chunks differ: of 32 of them too few to tell in one file in four.
const SAMPLES: u64 = 96;
/// A list whose chunks are shorter than this on average is none that a backup makes of a large file.
const CHUNK_BYTES_MEAN_MIN: u64 = 2048;
/// So many steps from an equal sample to a different one are no single insertion.
const STEPS_MIN: usize = 3;
/// Blocks are given up when fewer than one in this many samples stayed.
const STAYED_ONE_IN: usize = 8;

/// How to cut a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cutting {
    /// By its content.
    Content,
    /// Into blocks.
    Blocks {
        /// Their length.
        block_bytes: u32,
    },
    /// Where the parent's version was cut, and into blocks where it differs.
    AsBefore {
        /// Their length.
        block_bytes: u32,
    },
}

/// What decisions rest on besides the file itself.
pub(super) struct Witness<'n, S> {
    /// The parent's version.
    pub(super) known: Option<&'n Known>,
    /// Gives its list.
    pub(super) nodes: &'n S,
    /// Names chunks.
    pub(super) ids: &'n IdKeys,
}

/// Decides. What can't be read is no evidence; whoever reads the file will meet the error.
pub(super) fn decide<S: BlobSource>(file: &OpenFile, witness: &Witness<'_, S>) -> Cutting {
    let size = file.stat().size;
    if size < KNOWN_BYTES_MIN {
        return Cutting::Content;
    }
    let form = form(file, size);
    let is_known = matches!(form, Form::Paged(_));
    if matches!(form, Form::Stream(_)) || (!is_known && size < UNKNOWN_BYTES_MIN) {
        return Cutting::Content;
    }
    let data_bytes = file.extents().map_or(size, |extents| extents.iter().map(|extent| extent.len).sum());
    let usual = block_bytes(data_bytes);
    let past = witness.known.and_then(|known| Past::look(known, file, witness, !is_known));
    match past {
        None if is_known || form == Form::WholePages => Cutting::Blocks { block_bytes: usual },
        None => Cutting::Content,
        Some(past) => {
            // A file keeps its blocks as it grows, until they would be far too many.
            let block_bytes = past.block_bytes.unwrap_or(usual).max(usual / 4);
            let has_grown = witness.known.is_some_and(|known| size >= known.size);
            let stays = match past.block_bytes {
                _ if is_known => true,
                Some(_) => past.has_stayed() || (has_grown && form == Form::WholePages),
                None => has_grown && past.is_scattered(),
            };
            if stays { Cutting::AsBefore { block_bytes } } else { Cutting::Content }
        }
    }
}

fn form(file: &OpenFile, size: u64) -> Form {
    let mut head = vec![0; HEAD_BYTES.min(usize::try_from(size).unwrap_or(HEAD_BYTES))];
    let mut tail = [0; TAIL_BYTES];
    let data_begins = file.extents().and_then(|extents| extents.first()).map_or(0, |first| first.offset);
    // Holes are not read: a file that begins with one shows no header.
    let seen = if data_begins < HEAD_BYTES as u64 { file.peek(&mut head, 0).unwrap_or(0) } else { 0 };
    let end = file.peek(&mut tail, size.saturating_sub(TAIL_BYTES as u64)).unwrap_or(0);
    form_of(Glimpse { size, head: &head[..seen], tail: &tail[..end] })
}

/// Which chunk of a stretch of `step` is the sample: another one in each stretch, so that changes at
/// regular distances are not missed as a whole.
fn place_in(stretch: u64, step: u64) -> u64 {
    // Fibonacci hashing (Knuth, The Art of Computer Programming 3, section 6.4).
    (stretch.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % step
}

/// What the parent's version shows.
#[derive(Debug, Default)]
struct Past {
    /// The length of its blocks, when it was cut into some.
    block_bytes: Option<u32>,
    /// In the order of the file: whether the chunk that was there is there still.
    samples: Vec<bool>,
}

impl Past {
    /// `None` when there is no version in chunks, or none that a backup would make.
    fn look<S: BlobSource>(
        known: &Known,
        file: &OpenFile,
        witness: &Witness<'_, S>,
        with_samples: bool,
    ) -> Option<Self> {
        let chunks = match &known.content {
            Content::Chunks(chunks) => chunks.len() as u64,
            Content::ChunkList { chunks, .. } => *chunks,
            Content::None | Content::Group { .. } => return None,
        };
        if chunks == 0 || chunks.saturating_mul(CHUNK_BYTES_MEAN_MIN) > known.size {
            return None;
        }
        let step = chunks.div_ceil(SAMPLES);
        let mut lengths = Lengths::default();
        let mut samples = Vec::new();
        let mut buffer = Vec::new();
        for (number, past) in (0u64..).zip(chunks_of(known, witness.nodes)) {
            lengths.count(&past);
            let is_chosen = with_samples && number % step == place_in(number / step, step);
            if is_chosen && past.is_in_one_piece() && past.chunk.len <= BLOCK_BYTES_MAX {
                samples.push(is_there_still(&past, file, witness.ids, &mut buffer));
            }
        }
        Some(Self { block_bytes: lengths.block_bytes(), samples })
    }

    /// Whether enough is where it was.
    fn has_stayed(&self) -> bool {
        self.samples.iter().filter(|equal| **equal).count() * STAYED_ONE_IN >= self.samples.len()
    }

    /// Whether differences lie among chunks that stayed: what is shifted differs from a place on.
    fn is_scattered(&self) -> bool {
        let steps = self.samples.windows(2).filter(|pair| pair[0] && !pair[1]).count();
        steps >= STEPS_MIN && self.has_stayed()
    }
}

/// The chunks of the parent's version, each where its data lay.
pub(super) fn chunks_of<'n, S: BlobSource>(known: &'n Known, nodes: &'n S) -> PlacedChunks<'n, S> {
    PlacedChunks::new((&known.content).into(), known.extents.as_deref(), nodes)
}

fn is_there_still(past: &PlacedChunk, file: &OpenFile, ids: &IdKeys, buffer: &mut Vec<u8>) -> bool {
    buffer.resize(past.chunk.len as usize, 0);
    let is_whole = file.peek(buffer, past.start).is_ok_and(|count| count == buffer.len());
    is_whole && ids.id(BlobKind::Chunk, buffer) == past.chunk.id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::{BlobId, RepoId};
    use crate::repository::error::RepositoryError;
    use crate::repository::format::keys::{EpochKeys, RootKeys};
    use crate::repository::manifest::{ChunkRef, NodeKind};
    use crate::source::files::{Item, Walk, WalkOptions, open_regular};

    fn past(samples: &[u8]) -> Past {
        Past { block_bytes: None, samples: samples.iter().map(|equal| *equal == b'=').collect() }
    }

    #[test]
    fn scattered_differences_are_told_from_what_was_shifted_replaced_or_appended() {
        for (samples, is_scattered) in [
            (&b"==x===x=xx==x==="[..], true),
            (b"x=xxx=xxxxx=xxx=", true),
            (b"=====xxxxxxxxxxx", false),
            (b"================", false),
            (b"xxxxxxxxxxxxxxxx", false),
            (b"====xxxxxx======", false),
            (b"==xx==xxxxxxxxxxxxxxxxxxxxxxxxxx", false),
            (b"", false),
        ] {
            assert_eq!(past(samples).is_scattered(), is_scattered, "{}", String::from_utf8_lossy(samples));
        }
    }

    #[test]
    fn blocks_are_given_up_when_nearly_all_of_them_moved() {
        assert!(past(b"=xxx=xxxx==x").has_stayed());
        assert!(!past(b"=xxxxxxxxxxxxxxxx").has_stayed());
        assert!(past(b"").has_stayed(), "nothing speaks against it");
    }

    /// A file of so many bytes of noise behind a header, opened, and with what a parent knows of it.
    struct Scene {
        _dir: tempfile::TempDir,
        file: OpenFile,
        bytes: Vec<u8>,
        keys: EpochKeys,
    }

    struct NoLists;

    impl BlobSource for NoLists {
        type Error = RepositoryError;

        fn get(&self, _: NodeKind, _: &BlobId) -> Result<bytes::Bytes, RepositoryError> {
            Err(RepositoryError::Defect { what: "there are no lists" })
        }
    }

    fn scene(head: &[u8], bytes: usize) -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let mut content = vec![0; bytes];
        crate::codec::hash::derive_into("test", &[7; 32], &Default::default(), &[], &mut content);
        content[..head.len()].copy_from_slice(head);
        std::fs::write(dir.path().join("file"), &content).expect("written");
        let found =
            Walk::open(dir.path(), WalkOptions::default()).expect("walked").find_map(|item| match item {
                Item::Found(found) if &*found.name == b"file" => Some(found),
                _ => None,
            });
        let file = open_regular(&found.expect("found")).expect("opened");
        Scene {
            _dir: dir,
            file,
            bytes: content,
            keys: EpochKeys::derive(&RootKeys::generate(), &RepoId::new([1; 16])),
        }
    }

    impl Scene {
        /// The parent's version: the same bytes in chunks of these lengths, in which those chosen
        /// by `differs` were others; `size` is what it says of its length.
        fn known(&self, lens: &[usize], size: u64, differs: impl Fn(usize) -> bool) -> Known {
            let mut at = 0;
            let chunks = lens.iter().enumerate().map(|(number, len)| {
                let bytes = &self.bytes[at.min(self.bytes.len())..(at + len).min(self.bytes.len())];
                at += len;
                let id = self.keys.ids().id(BlobKind::Chunk, bytes);
                let id = if differs(number) { BlobId::new([9; 32]) } else { id };
                ChunkRef { id, len: u32::try_from(*len).expect("short") }
            });
            Known {
                size,
                hash16: [0; 16],
                content: Content::Chunks(chunks.collect()),
                extents: None,
                is_whole: true,
                is_scattered: false,
                uses: Vec::new(),
            }
        }

        fn decide(&self, known: Option<&Known>) -> Cutting {
            decide(&self.file, &Witness { known, nodes: &NoLists, ids: self.keys.ids() })
        }
    }

    const MIB: usize = 1 << 20;
    const BLOCKS: Cutting = Cutting::Blocks { block_bytes: 65_536 };
    const AS_BEFORE: Cutting = Cutting::AsBefore { block_bytes: 65_536 };

    #[test]
    fn the_parents_version_decides_where_the_file_itself_shows_nothing() {
        let scene = scene(b"", 40 * MIB + 1);
        let size = scene.bytes.len() as u64;
        let content = [vec![800_000; 52], vec![343_041]].concat();
        let scattered = |number: usize| number.is_multiple_of(7);
        assert_eq!(scene.decide(None), Cutting::Content);
        assert_eq!(scene.decide(Some(&scene.known(&content, size, |_| false))), Cutting::Content);
        assert_eq!(scene.decide(Some(&scene.known(&content, size, scattered))), AS_BEFORE);
        assert_eq!(
            scene.decide(Some(&scene.known(&content, size + 9, scattered))),
            Cutting::Content,
            "it shrank"
        );
        assert_eq!(scene.decide(Some(&scene.known(&content, size, |number| number > 20))), Cutting::Content);
        // Blocks stay blocks, until nearly all of them moved.
        let blocks = vec![65_536; 640];
        assert_eq!(scene.decide(Some(&scene.known(&blocks, size, scattered))), AS_BEFORE);
        assert_eq!(scene.decide(Some(&scene.known(&blocks, size, |_| false))), AS_BEFORE);
        assert_eq!(scene.decide(Some(&scene.known(&blocks, size, |number| number > 40))), Cutting::Content);
    }

    #[test]
    fn a_header_outweighs_the_parent_and_blocks_keep_their_length() {
        let scene = scene(b"SQLite format 3\0", 40 * MIB + 1);
        let size = scene.bytes.len() as u64;
        assert_eq!(scene.decide(None), BLOCKS);
        assert_eq!(scene.decide(Some(&scene.known(&[800_000; 52], size, |_| true))), AS_BEFORE);
        let longer = scene.known(&[262_144; 160], size, |_| true);
        assert_eq!(scene.decide(Some(&longer)), Cutting::AsBefore { block_bytes: 262_144 });
        let archive = self::scene(&[0x1f, 0x8b], 40 * MIB);
        let blocks = archive.known(&[65_536; 640], size, |_| false);
        assert_eq!(archive.decide(Some(&blocks)), Cutting::Content, "a stream has no blocks");
    }

    #[test]
    fn whole_pages_are_a_sign_only_in_long_files_without_a_parent() {
        assert_eq!(scene(b"", 32 * MIB).decide(None), BLOCKS);
        assert_eq!(scene(b"", 31 * MIB).decide(None), Cutting::Content);
        assert_eq!(scene(b"SQLite format 3\0", 2 * MIB - 1).decide(None), Cutting::Content);
        let scene = scene(b"", 32 * MIB);
        let known = scene.known(&[800_000; 41], 33_000_000, |_| false);
        assert_eq!(scene.decide(Some(&known)), Cutting::Content, "its chunks stay as they are");
    }

    #[test]
    fn absurd_lengths_in_the_parents_list_are_no_guide() {
        let scene = scene(b"QFI\xfb", 4 * MIB);
        for (lens, size) in [
            (vec![1; 4096], 4 * MIB as u64),
            (vec![16 * MIB; 4], 4 * MIB as u64),
            (vec![65_536; 100], 0),
            (vec![u32::MAX as usize >> 1; 4096], u64::MAX),
            (Vec::new(), 4 * MIB as u64),
        ] {
            let known = scene.known(&lens, size, |_| true);
            let cutting = scene.decide(Some(&known));
            assert!(matches!(cutting, Cutting::Blocks { .. } | Cutting::AsBefore { block_bytes: 65_536 }));
            if lens.first() == Some(&1) {
                assert_eq!(cutting, BLOCKS, "a list of single bytes is not followed");
            }
        }
        let mut list = scene.known(&[], 4 * MIB as u64, |_| true);
        list.content = Content::ChunkList { id: BlobId::new([3; 32]), chunks: u64::MAX };
        assert_eq!(scene.decide(Some(&list)), BLOCKS);
        list.content = Content::ChunkList { id: BlobId::new([3; 32]), chunks: 60 };
        assert_eq!(scene.decide(Some(&list)), AS_BEFORE, "an unreadable list is one without chunks");
    }
}
