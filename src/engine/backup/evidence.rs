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
use crate::engine::manifest_source::Nodes;
use crate::repository::format::keys::{BlobKind, IdKeys};
use crate::repository::manifest::Content;
use crate::source::files::OpenFile;

/// A file with a known header is cut into blocks from this size on: two content-defined chunks
/// would be half of a smaller one.
const KNOWN_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// Without a known header the file must have this size.
const UNKNOWN_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// Chunks of the parent's version that are compared before anything is decided.
const SAMPLES: u64 = 32;
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
pub(super) struct Witness<'n, 'r, 'a> {
    /// The parent's version.
    pub(super) known: Option<&'n Known>,
    /// Reads its list.
    pub(super) nodes: &'n Nodes<'r, 'a>,
    /// Names chunks.
    pub(super) ids: &'n IdKeys,
}

/// Decides. What can't be read is no evidence; whoever reads the file will meet the error.
pub(super) fn decide(file: &OpenFile, witness: &Witness<'_, '_, '_>) -> Cutting {
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
    fn look(
        known: &Known,
        file: &OpenFile,
        witness: &Witness<'_, '_, '_>,
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
            let is_chosen = with_samples && number % step == step / 2;
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
pub(super) fn chunks_of<'n, 'r, 'a>(
    known: &'n Known,
    nodes: &'n Nodes<'r, 'a>,
) -> PlacedChunks<'n, Nodes<'r, 'a>> {
    PlacedChunks::new(&known.content, known.extents.as_deref(), nodes)
}

fn is_there_still(past: &PlacedChunk, file: &OpenFile, ids: &IdKeys, buffer: &mut Vec<u8>) -> bool {
    buffer.resize(past.chunk.len as usize, 0);
    let is_whole = file.peek(buffer, past.start).is_ok_and(|count| count == buffer.len());
    is_whole && ids.id(BlobKind::Chunk, buffer) == past.chunk.id
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
