//! File bytes past the page cache (`O_DIRECT`), without copies that the kernel would make.
//!
//! A page cache costs the processor more than the disk does, and what it answers proves nothing
//! about the medium. Buffers are aligned inside ordinary vectors.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};

/// Alignment that every Linux file system accepts.
const ALIGN: usize = 4096;
/// Bytes of one write when they have to be copied to an aligned place first.
const STEP_BYTES: usize = 1024 * 1024;
/// Buffers grow to a multiple of it, so that reads of about one length share a buffer whatever their order.
const GROWTH_BYTES: usize = 1024 * 1024;

/// Writes the whole blocks of `bytes` from the file's start on. Returns how many bytes that were:
/// 0 where the file system refuses.
///
/// # Errors
/// Whatever the file system says of the writing itself.
pub fn write(file: &File, bytes: &[u8]) -> io::Result<usize> {
    if !set(file, true) {
        return Ok(0);
    }
    let written = write_blocks(file, &bytes[..bytes.len() - bytes.len() % ALIGN]);
    set(file, false);
    written
}

fn write_blocks(file: &File, bytes: &[u8]) -> io::Result<usize> {
    let mut buffer = Vec::new();
    let mut written = 0;
    for step in bytes.chunks(STEP_BYTES) {
        let aligned = if step.as_ptr().align_offset(ALIGN) == 0 {
            step
        } else {
            let place = aligned(&mut buffer, STEP_BYTES);
            let aligned = &mut buffer[place.start..place.start + step.len()];
            aligned.copy_from_slice(step);
            aligned
        };
        match file.write_all_at(aligned, u64::try_from(written).map_err(io::Error::other)?) {
            Ok(()) => written += step.len(),
            Err(error) if is_refused(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// Reads `len` bytes from `offset` on into `buffer`, which grows as far as it must and is worth
/// keeping. Returns where in it they are, fewer when the file ends before; `None` where the file
/// system refuses.
///
/// # Errors
/// Whatever the medium says.
pub fn read(file: &File, offset: u64, len: usize, buffer: &mut Vec<u8>) -> io::Result<Option<Range<usize>>> {
    let before = usize::try_from(offset % 4096).map_err(io::Error::other)?;
    let first = offset - offset % 4096;
    let whole = (before + len).next_multiple_of(ALIGN);
    if !set(file, true) {
        return Ok(None);
    }
    let place = aligned(buffer, whole);
    let mut got = 0;
    while got < before + len {
        let at = first + u64::try_from(got).map_err(io::Error::other)?;
        match file.read_at(&mut buffer[place.start + got..place.end], at) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_refused(&error) && got == 0 => return Ok(None),
            // Behind a read that the file's end cut, the next one can't begin at a block.
            Err(error) if is_refused(&error) => break,
            Err(error) => return Err(error),
        }
    }
    let start = place.start + before;
    Ok(Some(start..place.start + got.clamp(before, before + len)))
}

/// Whether the page cache has the byte at `offset`, so that reading through it is the shortest way.
pub fn is_cached(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT).is_ok()
}

/// Makes `buffer` hold `len` bytes at an aligned place, and says which.
fn aligned(buffer: &mut Vec<u8>, len: usize) -> Range<usize> {
    if buffer.len() < len + ALIGN {
        // Nothing in it is worth being copied to a larger place. The system hands out pages of zeros,
        // so `vec!` writes none, and what the rounding adds costs nothing until it is used.
        *buffer = Vec::new();
        *buffer = vec![0; (len + ALIGN).next_multiple_of(GROWTH_BYTES)];
    }
    let start = buffer.as_ptr().align_offset(ALIGN);
    start..start + len
}

fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
}

fn set(file: &File, direct: bool) -> bool {
    rustix::fs::fcntl_getfl(file)
        .and_then(|mut flags| {
            flags.set(OFlags::DIRECT, direct);
            rustix::fs::fcntl_setfl(file, flags)
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stretch_of_a_file_is_read_as_it_is() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a");
        let bytes: Vec<u8> = (0..50_001u32).flat_map(|i| (i % 251).to_le_bytes()).collect();
        std::fs::write(&path, &bytes).expect("written");
        let mut buffer = Vec::new();
        for (from, len) in [
            (0, bytes.len()),
            (0, 1),
            (4096, 4096),
            (1, 4096),
            (4095, 9000),
            (150_000, 90_000),
            (bytes.len(), 5),
        ] {
            let file = File::open(&path).expect("opened");
            let found = read(&file, from as u64, len, &mut buffer).expect("read").expect("direct");
            let end = (from + len).min(bytes.len());
            assert!(buffer[found] == bytes[from..end], "{from} {len}");
        }
    }

    #[test]
    fn what_was_just_written_is_cached() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a");
        std::fs::write(&path, [7; 10_000]).expect("written");
        let file = File::open(&path).expect("opened");
        assert!(is_cached(&file, 0));
    }
}
