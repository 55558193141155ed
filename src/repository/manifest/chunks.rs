//! Chunk lists.
use super::entry::{ChunkRef, Content};
use super::error::ManifestError;
use super::store::{BlobSink, BlobSource};

/// Collects the chunks of one file; spills to list blobs when they are many.
#[derive(Debug, Default)]
pub struct ChunkListBuilder {}

impl ChunkListBuilder {
    /// No chunks yet.
    pub fn new() -> Self {
        Self {}
    }
    /// Adds the next chunk.
    ///
    /// # Errors
    /// When a full list could not be stored.
    pub fn push(&mut self, chunk: ChunkRef, sink: &mut impl BlobSink) -> Result<(), ManifestError> {
        let _ = (chunk, sink);
        unimplemented!()
    }
    /// The content of the file.
    ///
    /// # Errors
    /// When a list could not be stored.
    pub fn finish(self, sink: &mut impl BlobSink) -> Result<Content, ManifestError> {
        let _ = sink;
        unimplemented!()
    }
}

/// The chunks of one file, in order, read list by list.
#[derive(Debug)]
pub struct ChunkIter<'a, S> {
    _source: &'a S,
}

impl<'a, S: BlobSource> ChunkIter<'a, S> {
    /// Streams the chunks of any content (none for groups).
    pub fn new(content: &Content, source: &'a S) -> Self {
        let _ = content;
        Self { _source: source }
    }
}

impl<S: BlobSource> Iterator for ChunkIter<'_, S> {
    type Item = Result<ChunkRef, ManifestError>;
    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}
