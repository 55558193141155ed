//! Fixed blocks: how long they are, and what the bytes of a file say about whether it is one that
//! is changed in place.
//!
//! A file that is written in place (a database, the disk of a virtual machine) keeps every byte at
//! its offset. Blocks that end at multiples of their length then meet a change where it is, while a
//! content-defined chunk is many times as long. Streams (archives, media, text) move what follows
//! an insertion and are never cut into blocks.
//!
//! Only signs are read here, and signs can lie: a wrong answer costs room, never a byte of content.

/// The shortest block.
pub const BLOCK_BYTES_MIN: u32 = 64 * 1024;
/// The longest block: no longer than a content-defined chunk of the default size may be.
pub const BLOCK_BYTES_MAX: u32 = 2 * 1024 * 1024;
/// Blocks of one file grow with its data, so that there are about this many at most.
const BLOCKS_AIM: u64 = 1024 * 1024;
/// What is to be seen of a file's start.
pub const HEAD_BYTES: usize = 128 * 1024;
/// What is to be seen of a file's end.
pub const TAIL_BYTES: usize = 512;
/// Files without a known header are whole pages of at least this length when they are paged at all.
const PAGE_BYTES: u64 = 4096;
/// Pages that must look like a database's before its layout is believed without a magic number.
const PAGES_MIN: usize = 3;

/// The length of the blocks of a file with this much data: 64 KiB up to 64 GiB, then doubled with
/// each doubling, 2 MiB beyond 1 TiB.
pub fn block_bytes(data_bytes: u64) -> u32 {
    let least = data_bytes.div_ceil(BLOCKS_AIM).checked_next_power_of_two().unwrap_or(u64::MAX);
    u32::try_from(least).unwrap_or(u32::MAX).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX)
}

/// What is seen of a file: its length, its start (up to [`HEAD_BYTES`]), its last
/// [`TAIL_BYTES`].
#[derive(Clone, Copy, Debug)]
pub struct Glimpse<'a> {
    /// Bytes of the file.
    pub size: u64,
    /// The start of it.
    pub head: &'a [u8],
    /// The end of it.
    pub tail: &'a [u8],
}

/// What the bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A known format that is changed in place.
    Paged(&'static str),
    /// A known format, or text, that is written from start to end.
    Stream(&'static str),
    /// Unknown, but whole pages: no stream is that but one in some thousand, by accident.
    WholePages,
    /// Unknown.
    Unknown,
}

/// What a file is, by its start, its end and its length.
pub fn form_of(seen: Glimpse<'_>) -> Form {
    let at = |(offset, bytes, _): &&(usize, &[u8], &'static str)| seen.has(*offset, bytes);
    if let Some((_, _, name)) = PAGED.iter().find(at) {
        return Form::Paged(name);
    }
    if let Some((_, _, name)) = STREAMS.iter().find(at) {
        return Form::Stream(name);
    }
    if seen.tail.starts_with(b"conectix") {
        return Form::Paged("VHD");
    }
    if let Some(name) = seen.database().or_else(|| seen.disk()) {
        return Form::Paged(name);
    }
    if seen.is_text() {
        return Form::Stream("text");
    }
    if seen.size > 0 && seen.size.is_multiple_of(PAGE_BYTES) { Form::WholePages } else { Form::Unknown }
}

/// Magic numbers of what is changed in place.
const PAGED: &[(usize, &[u8], &str)] = &[
    (0, b"SQLite format 3\0", "SQLite"),
    (4, b"Standard Jet DB\0", "Access"),
    (4, b"Standard ACE DB\0", "Access"),
    (4, &[0xef, 0xcd, 0xab, 0x89], "ESE"),
    (16, &[0xde, 0xc0, 0xef, 0xbe], "LMDB"),
    (16, &[0xed, 0xda, 0x0c, 0xed], "bolt"),
    (0, &[0x41, 0xd8, 0x01, 0x00], "WiredTiger"),
    (12, &[0x62, 0x31, 0x05, 0x00], "Berkeley DB"),
    (12, &[0x61, 0x15, 0x06, 0x00], "Berkeley DB"),
    (28, &[0x7d, 0x7c, 0x7b, 0x7a], "Oracle"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (64, &[0x7f, 0x10, 0xda, 0xbe], "VDI"),
    (0, b"conectix", "VHD"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"XFSB", "XFS"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0x10034, b"ReIsEr", "ReiserFS"),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], "F2FS"),
    (32, b"NXSB", "APFS"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (82, b"FAT32   ", "FAT"),
    (54, b"FAT16   ", "FAT"),
    (54, b"FAT12   ", "FAT"),
    (4086, b"SWAPSPACE2", "swap"),
    (512, b"LABELONE", "LVM"),
    (0, b"LABELONE", "LVM"),
    (1024, b"LABELONE", "LVM"),
    (1536, b"LABELONE", "LVM"),
];

/// Magic numbers of what is written from start to end.
const STREAMS: &[(usize, &[u8], &str)] = &[
    (0, &[0x1f, 0x8b], "gzip"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (0, &[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (0, b"BZh", "bzip2"),
    (0, &[0x04, 0x22, 0x4d, 0x18], "lz4"),
    (0, &[0x5d, 0, 0], "lzma"),
    (0, b"PK\x03\x04", "zip"),
    (0, &[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c], "7z"),
    (0, b"Rar!", "rar"),
    (257, b"ustar", "tar"),
    (0, b"07070", "cpio"),
    (0, b"!<arch>", "ar"),
    (0, &[0xed, 0xab, 0xee, 0xdb], "rpm"),
    (0, b"hsqs", "squashfs"),
    (0x8001, b"CD001", "ISO 9660"),
    (0, b"LBPACK", "pack"),
    (0, b"PACK", "git pack"),
    (0, b"PAR1", "Parquet"),
    (0, b"Obj\x01", "Avro"),
    (0, b"ORC", "ORC"),
    (0, b"PGDMP", "dump"),
    (0, &[0x7f, b'E', b'L', b'F'], "ELF"),
    (0, b"%PDF", "PDF"),
    (4, b"ftyp", "MP4"),
    (4, b"moov", "MP4"),
    (4, b"mdat", "MP4"),
    (4, b"wide", "MP4"),
    (0, &[0x1a, 0x45, 0xdf, 0xa3], "Matroska"),
    (0, b"OggS", "Ogg"),
    (0, b"RIFF", "RIFF"),
    (0, b"FORM", "AIFF"),
    (0, b"fLaC", "FLAC"),
    (0, b"ID3", "MP3"),
    (0, &[0xff, 0xfb], "MP3"),
    (0, b"FLV\x01", "FLV"),
    (0, &[0x30, 0x26, 0xb2, 0x75], "ASF"),
    (0, &[0, 0, 1, 0xba], "MPEG"),
    (0, &[0xff, 0xd8, 0xff], "JPEG"),
    (0, &[0x89, b'P', b'N', b'G'], "PNG"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, &[0xca, 0xfe, 0xba, 0xbe], "Mach-O"),
];

impl<'a> Glimpse<'a> {
    fn has(&self, offset: usize, bytes: &[u8]) -> bool {
        self.head.get(offset..).is_some_and(|rest| rest.starts_with(bytes))
    }

    fn u16_le(&self, at: usize) -> Option<u16> {
        self.head.get(at..)?.first_chunk().map(|two| u16::from_le_bytes(*two))
    }

    fn u32_be(&self, at: usize) -> Option<u32> {
        self.head.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
    }

    /// Databases whose pages say themselves what they are.
    fn database(&self) -> Option<&'static str> {
        let lengths = [8 * 1024, 16 * 1024, 4 * 1024, 32 * 1024];
        if lengths.iter().any(|page| self.is_postgres(*page)) {
            return Some("PostgreSQL");
        }
        lengths.iter().any(|page| self.is_innodb(*page)).then_some("InnoDB")
    }

    fn pages(&self, bytes: usize) -> impl Iterator<Item = (usize, &'a [u8])> {
        let head = self.head;
        head.chunks_exact(bytes).enumerate().map(move |(number, page)| (number * bytes, page))
    }

    /// `pd_pagesize_version` holds the page's length and a version from 1 to 5, and the three
    /// bounds before it ascend. Pages of zeros say nothing.
    fn is_postgres(&self, page_bytes: usize) -> bool {
        let mut alike = 0;
        for (start, page) in self.pages(page_bytes) {
            if page.iter().all(|byte| *byte == 0) {
                continue;
            }
            let field = |at| self.u16_le(start + at).map_or(0, usize::from);
            let (flags, lower, upper, special) = (field(10), field(12), field(14), field(16));
            let (length, version) = (field(18) & 0xff00, field(18) & 0xff);
            let ascends = 24 <= lower && lower <= upper && upper <= special && special <= page_bytes;
            if length != page_bytes || !(1..=5).contains(&version) || flags > 15 || !ascends {
                return false;
            }
            alike += 1;
        }
        alike >= PAGES_MIN
    }

    /// Each page has its number at 4 and the same table space at 34.
    fn is_innodb(&self, page_bytes: usize) -> bool {
        let space = self.u32_be(34);
        let mut alike = 0;
        for (number, (start, page)) in (0u32..).zip(self.pages(page_bytes)) {
            if page.iter().all(|byte| *byte == 0) {
                continue;
            }
            if self.u32_be(start + 4) != Some(number) || self.u32_be(start + 34) != space {
                return false;
            }
            alike += 1;
        }
        // A file of equal pages of other kinds has no ascending numbers: one is not enough.
        alike >= PAGES_MIN
    }

    /// Raw disks and file systems.
    fn disk(&self) -> Option<&'static str> {
        if self.has(512, b"EFI PART") || self.has(4096, b"EFI PART") {
            return Some("GPT");
        }
        let revision = self.head.get(1024 + 76..)?.first_chunk().map(|four| u32::from_le_bytes(*four));
        if self.has(1024 + 56, &[0x53, 0xef]) && revision.is_some_and(|revision| revision <= 1) {
            return Some("ext");
        }
        (self.has(510, &[0x55, 0xaa]) && self.has_partitions()).then_some("MBR")
    }

    /// Whether the partition table could be one: each entry is empty, or has a type, a plain
    /// activity flag and a length, and starts within the file.
    fn has_partitions(&self) -> bool {
        let entries = self.head.get(446..510).map_or(&[][..], |table| table.as_chunks::<16>().0);
        let mut used = 0;
        for entry in entries.iter().filter(|entry| **entry != [0; 16]) {
            let number =
                |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
            let (start, sectors) = (u64::from(number(8)), u64::from(number(12)));
            let starts_within = start > 0 && start.saturating_mul(512) < self.size;
            if entry[0] & 0x7f != 0 || entry[4] == 0 || sectors == 0 || !starts_within {
                return false;
            }
            used += 1;
        }
        used > 0
    }

    /// No byte of the first page is one that texts don't have.
    fn is_text(&self) -> bool {
        let page = &self.head[..self.head.len().min(4096)];
        let plain =
            |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b | 0x20..=0x7e | 0x80..=0xff);
        !page.is_empty() && page.iter().all(plain) && page.iter().any(u8::is_ascii_whitespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(head: &[u8]) -> Form {
        form_of(Glimpse { size: 64 << 20, head, tail: &[] })
    }

    fn with(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; HEAD_BYTES];
        for (at, bytes) in parts {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn blocks_grow_so_that_a_file_has_a_bounded_number_of_them() {
        for (gib, kib) in
            [(0, 64), (1, 64), (64, 64), (65, 128), (128, 128), (1024, 1024), (1025, 2048), (1 << 20, 2048)]
        {
            assert_eq!(block_bytes(gib << 30), kib * 1024, "{gib} GiB");
        }
        assert_eq!(block_bytes(u64::MAX), BLOCK_BYTES_MAX);
    }

    #[test]
    fn pages_of_postgres_are_known_by_several_of_them() {
        let mut page = vec![7u8; 8192];
        page[8..24].copy_from_slice(&[0, 0, 0, 0, 24, 0, 0, 16, 0, 32, 4, 32, 0, 0, 0, 0]);
        let mut head = page.repeat(5);
        head.extend([0; 8192]);
        assert_eq!(form(&head), Form::Paged("PostgreSQL"), "the last page is a new one");
        assert_eq!(form(&head[..2 * 8192]), Form::WholePages, "two pages are too few");
        head[3 * 8192 + 18] = 9;
        assert_eq!(form(&head), Form::WholePages, "one page of no known version");
        assert_eq!(form(&vec![0; HEAD_BYTES]), Form::WholePages, "zeros are no database");
    }

    #[test]
    fn pages_of_innodb_are_known_by_their_numbers() {
        let mut head = Vec::new();
        for number in 0u32..8 {
            let mut page = vec![3u8; 16 * 1024];
            page[4..8].copy_from_slice(&number.to_be_bytes());
            page[34..38].copy_from_slice(&[0, 0, 0, 9]);
            head.extend(page);
        }
        assert_eq!(form(&head), Form::Paged("InnoDB"));
        head[2 * 16 * 1024 + 7] = 9;
        assert_eq!(form(&head), Form::WholePages);
    }

    #[test]
    fn disks_are_known_by_their_tables_and_file_systems() {
        let entry = [0x80, 0, 1, 1, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0];
        assert_eq!(form(&with(&[(446, &entry), (510, &[0x55, 0xaa])])), Form::Paged("MBR"));
        let lying = [0x12, 0, 1, 1, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0];
        assert_eq!(form(&with(&[(446, &lying), (510, &[0x55, 0xaa])])), Form::WholePages);
        assert_eq!(form(&with(&[(510, &[0x55, 0xaa])])), Form::WholePages, "no partition at all");
        assert_eq!(form(&with(&[(512, b"EFI PART")])), Form::Paged("GPT"));
        assert_eq!(form(&with(&[(1024 + 56, &[0x53, 0xef]), (1024 + 76, &[1])])), Form::Paged("ext"));
        assert_eq!(form(&with(&[(0x10040, b"_BHRfS_M")])), Form::Paged("btrfs"));
    }

    #[test]
    fn streams_are_never_paged_and_text_is_a_stream() {
        for (at, magic, name) in STREAMS {
            // Pages that would do, but for the magic number.
            assert_eq!(form(&with(&[(*at, magic)])), Form::Stream(name));
        }
        let text = b"2026-11-24 a line of a log\n".repeat(1000);
        assert_eq!(form_of(Glimpse { size: 64 << 20, head: &text, tail: &[] }), Form::Stream("text"));
    }

    #[test]
    fn a_length_in_whole_pages_is_a_sign_and_another_length_is_none() {
        let head = [1u8, 0, 200, 3].repeat(3000);
        assert_eq!(form_of(Glimpse { size: 4096 * 9000, head: &head, tail: &[] }), Form::WholePages);
        assert_eq!(form_of(Glimpse { size: 4096 * 9000 + 512, head: &head, tail: &[] }), Form::Unknown);
        assert_eq!(form_of(Glimpse { size: 40_000_512, head: &head, tail: b"conectix" }), Form::Paged("VHD"));
    }

    proptest! {
        #[test]
        fn any_start_of_a_file_has_a_form(
            size in any::<u64>(),
            head in prop::collection::vec(any::<u8>(), 0..3000),
            tail in prop::collection::vec(any::<u8>(), 0..600),
            magic in 0usize..PAGED.len(),
            cut in 0usize..70_000,
        ) {
            form_of(Glimpse { size, head: &head, tail: &tail });
            let (at, bytes, _) = PAGED[magic];
            let head = with(&[(at, bytes)]);
            form_of(Glimpse { size, head: &head[..cut], tail: &tail });
        }
    }
}
