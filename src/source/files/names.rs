//! The names of one directory, sorted: in memory while they are few, by runs in unnamed files and
//! a merge beyond that, so that the widest directory costs no more memory than a wide one.
//!
//! Where the folder for temporary files takes nothing, they stay in memory after all.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

/// Names that are sorted in memory: with names of 20 bytes about 14 MB.
const RUN_NAMES: usize = 500_000;
/// What a run is read back in.
const READ_BYTES: usize = 64 * 1024;

/// Names that are collected.
#[derive(Debug)]
pub(super) struct Names {
    memory: Memory,
    runs: Vec<BufReader<File>>,
    /// Names of one run; the maximum once no file could be written.
    run_names: usize,
    len: usize,
}

/// Names end to end, and where each begins and how long it is.
#[derive(Debug, Default)]
struct Memory {
    bytes: Vec<u8>,
    spans: Vec<(u32, u8)>,
}

impl Memory {
    fn name(&self, span: (u32, u8)) -> &[u8] {
        let start = span.0 as usize;
        &self.bytes[start..start + usize::from(span.1)]
    }

    fn sort(&mut self) {
        let mut spans = std::mem::take(&mut self.spans);
        spans.sort_unstable_by(|a, b| self.name(*a).cmp(self.name(*b)));
        self.spans = spans;
    }
}

impl Names {
    pub(super) fn new() -> Self {
        Self::with_runs_of(RUN_NAMES)
    }

    fn with_runs_of(run_names: usize) -> Self {
        Self { memory: Memory::default(), runs: Vec::new(), run_names, len: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a name as a directory lists it.
    ///
    /// # Errors
    /// When it is longer than a name can be, or all of them together than any directory's.
    pub(super) fn push(&mut self, name: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::other("its names are longer than names can be");
        let start = u32::try_from(self.memory.bytes.len()).map_err(too_long)?;
        let len = u8::try_from(name.len()).map_err(too_long)?;
        self.memory.bytes.extend_from_slice(name);
        self.memory.spans.push((start, len));
        self.len += 1;
        if self.memory.spans.len() >= self.run_names {
            match self.spill() {
                Ok(run) => {
                    self.runs.push(run);
                    self.memory.bytes.clear();
                    self.memory.spans.clear();
                }
                Err(_) => self.run_names = usize::MAX,
            }
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<BufReader<File>> {
        self.memory.sort();
        let mut file = BufWriter::new(tempfile::tempfile()?);
        for span in &self.memory.spans {
            file.write_all(&[span.1])?;
            file.write_all(self.memory.name(*span))?;
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(BufReader::with_capacity(READ_BYTES, file))
    }

    /// All of them, sorted by bytes.
    pub(super) fn sorted(mut self) -> Sorted {
        self.memory.sort();
        if !self.runs.is_empty() {
            self.memory.bytes.shrink_to_fit();
        }
        let mut sorted =
            Sorted { memory: self.memory, next: 0, runs: self.runs, heads: BinaryHeap::new(), failed: None };
        for number in 0..sorted.runs.len() {
            sorted.refill(number);
        }
        sorted
    }
}

/// Sorted names, one after the other. Ends after an error.
#[derive(Debug)]
pub(super) struct Sorted {
    memory: Memory,
    next: usize,
    runs: Vec<BufReader<File>>,
    /// The first name of each run that is not given out yet.
    heads: BinaryHeap<Reverse<(Box<[u8]>, usize)>>,
    failed: Option<io::Error>,
}

impl Sorted {
    fn refill(&mut self, number: usize) {
        match next_of(&mut self.runs[number]) {
            Ok(Some(name)) => self.heads.push(Reverse((name, number))),
            Ok(None) => {}
            Err(error) => self.failed = Some(error),
        }
    }

    fn end(&mut self) {
        self.heads.clear();
        self.next = self.memory.spans.len();
    }
}

impl Iterator for Sorted {
    type Item = io::Result<Box<[u8]>>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.end();
            return Some(Err(error));
        }
        let in_memory = self.memory.spans.get(self.next).map(|span| self.memory.name(*span));
        let in_run = self.heads.peek().map(|Reverse((name, _))| &**name);
        match (in_memory, in_run) {
            (Some(memory), run) if run.is_none_or(|run| memory <= run) => {
                let name = memory.into();
                self.next += 1;
                Some(Ok(name))
            }
            _ => {
                let Reverse((name, number)) = self.heads.pop()?;
                self.refill(number);
                Some(Ok(name))
            }
        }
    }
}

fn next_of(run: &mut BufReader<File>) -> io::Result<Option<Box<[u8]>>> {
    let Some(len) = run.fill_buf()?.first().copied() else { return Ok(None) };
    run.consume(1);
    let mut name = vec![0; usize::from(len)].into_boxed_slice();
    run.read_exact(&mut name)?;
    Ok(Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(names: &[Vec<u8>], run_names: usize) -> Vec<Vec<u8>> {
        let mut list = Names::with_runs_of(run_names);
        names.iter().for_each(|name| list.push(name).expect("a name"));
        assert_eq!((list.len(), list.is_empty()), (names.len(), names.is_empty()));
        assert_eq!(list.runs.len(), names.len() / run_names);
        list.sorted().map(|name| name.expect("read back").into_vec()).collect()
    }

    #[test]
    fn names_come_sorted_from_memory_and_from_files() {
        let mut names: Vec<Vec<u8>> = (0..5000u32)
            .map(|number| blake3::hash(&number.to_le_bytes()).as_bytes()[..1 + number as usize % 32].to_vec())
            .collect();
        names.extend([vec![255; 255], b"a".to_vec(), b"\xff".to_vec()]);
        let mut expected = names.clone();
        expected.sort_unstable();
        for run_names in [1_000_000, 5003, 1000, 37] {
            assert!(sorted(&names, run_names) == expected, "runs of {run_names}");
        }
        assert_eq!(sorted(&[], 10), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_run_that_is_cut_is_an_error_and_the_end() {
        let mut list = Names::with_runs_of(4);
        for name in [b"d", b"a", b"c", b"b", b"e"] {
            list.push(name).expect("a name");
        }
        list.runs[0].get_ref().set_len(5).expect("cut");
        let all: Vec<_> = list.sorted().map(|name| name.ok()).collect();
        assert_eq!(
            all,
            [Some(b"a".as_slice().into()), Some(b"b".as_slice().into()), None],
            "and none after it"
        );
    }

    #[test]
    fn a_name_longer_than_any_is_refused() {
        assert!(Names::new().push(&[b'n'; 256]).is_err());
    }
}
