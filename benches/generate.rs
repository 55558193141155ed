//! Makes the data sets that the benchmarks measure, from nothing but a seed.
//!
//! ```text
//! generate mixed   DIR [--percent 25] [--seed 1]   src/ text-like small files, media/ noise, db/ one file of pages
//! generate churn   DIR [--seed 2]                  changes a mixed tree in place; another seed is another round
//! generate million DIR [--percent 100] [--seed 1]  2,000 folders of 500 files, most of them empty
//! generate walk    DIR                             makes nothing: the bare walk that others are measured against
//! ```
//!
//! The same arguments give the same names, bytes and mtimes on every machine: integers only, one
//! generator of random numbers for each file, nothing from the clock. It uses the standard library
//! alone, so that `benches/compare` can build it in two seconds with a bare `rustc -O`.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

type Outcome = Result<(), Box<dyn Error>>;

/// Full scale: 2 GB in 150,000 small files, 2 GB in media files, a database of 3 GB.
const SRC_FILES: u64 = 150_000;
const SRC_FILES_PER_FOLDER: u64 = 20;
const MEDIA_BYTES: u64 = 2_000_000_000;
const MEDIA_FILE_BYTES: (u64, u64) = (40_000_000, 60_000_000);
const DB_BYTES: u64 = 3_000_000_000;
const PAGE_BYTES: usize = 8192;
const MILLION_FOLDERS: u64 = 2_000;
const MILLION_FILES_PER_FOLDER: u64 = 500;

const DB_PATH: &str = "db/main.db";
/// 2024-01-01; each file's mtime lies in the year after it, well before any backup.
const EPOCH_SECONDS: u64 = 1_704_067_200;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let Some((what, dir)) = args.first().zip(args.get(1)) else {
        // A bare `cargo bench` comes by here; there is nothing to measure and nothing wrong.
        return say(
            "usage: generate mixed|churn|million|walk DIR [--percent N] [--seed N]",
            ExitCode::SUCCESS,
        );
    };
    let outcome = number_after(&args, "--percent").and_then(|percent| {
        let seed = number_after(&args, "--seed")?;
        let dir = Path::new(dir);
        match what.as_str() {
            "mixed" => mixed(dir, percent.unwrap_or(25), seed.unwrap_or(1)),
            "churn" => churn(dir, seed.unwrap_or(2)),
            "million" => million(dir, percent.unwrap_or(100), seed.unwrap_or(1)),
            "walk" => walk(dir),
            other => Err(format!("there is no data set `{other}`").into()),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("generate: {error}"), ExitCode::FAILURE),
    }
}

fn say(words: &str, code: ExitCode) -> ExitCode {
    // Nobody is left to tell when stderr is gone.
    writeln!(io::stderr(), "{words}").map_or(ExitCode::FAILURE, |()| code)
}

fn number_after(args: &[String], flag: &str) -> Result<Option<u64>, Box<dyn Error>> {
    let Some(at) = args.iter().position(|arg| arg == flag) else { return Ok(None) };
    let text = args.get(at + 1).ok_or_else(|| format!("{flag} needs a number"))?;
    Ok(Some(text.parse().map_err(|error| format!("{flag} {text}: {error}"))?))
}

fn mixed(dir: &Path, percent: u64, seed: u64) -> Outcome {
    fs::create_dir(dir)?;
    let words = Words::new();
    let folders = src_folders(dir, (SRC_FILES * percent / 100).div_ceil(SRC_FILES_PER_FOLDER), seed)?;
    let mut copies = Vec::new();
    for number in 0..SRC_FILES * percent / 100 {
        let mut random = Random::of(seed, "src", number);
        let path = random.one_of(&folders).join(format!("{}_{number}.rs", random.one_of(&words.0)));
        // A few exact copies: one file in fifty has the bytes of an earlier one.
        let text = match copies.len() {
            earlier if earlier > 0 && random.below(50) == 0 => fs::read(random.one_of(&copies))?,
            _ => words.text(src_bytes(&mut random), &mut random),
        };
        write_file(&path, &text, &mut random)?;
        if number % 100 == 0 {
            copies.push(path);
        }
    }
    media(&dir.join("media"), MEDIA_BYTES * percent / 100, seed)?;
    database(&dir.join(DB_PATH), DB_BYTES * percent / 100, seed)
}

/// A tree that leans to depth: a new folder stands in one of the last few, now and then anywhere.
fn src_folders(dir: &Path, count: u64, seed: u64) -> io::Result<Vec<PathBuf>> {
    let words = Words::new();
    let mut random = Random::of(seed, "folders", 0);
    let mut folders = vec![dir.join("src")];
    fs::create_dir(&folders[0])?;
    for number in 1..count {
        let recent = folders.len().saturating_sub(8);
        let parent =
            if random.below(4) == 0 { random.one_of(&folders) } else { random.one_of(&folders[recent..]) };
        // Sixteen deep is deep for sources and keeps paths far from the kernel's limit.
        let depth = parent.components().count() - dir.components().count();
        let parent = if depth < 16 { parent.clone() } else { folders[0].clone() };
        let folder = parent.join(format!("{}_{number}", random.one_of(&words.0)));
        fs::create_dir(&folder)?;
        folders.push(folder);
    }
    Ok(folders)
}

/// 1 to 64 KiB, log-normal with a median of 9.4 KiB: two to the power of a bell curve, in 1/256.
fn src_bytes(random: &mut Random) -> usize {
    // The sum of twelve dice with 256 sides has mean 1,530 and a deviation of 256, which is one power of two.
    let bell: u64 = (0..12).map(|_| random.below(256)).sum();
    let exponent = (3364 + bell * 314 / 256).saturating_sub(1530 * 314 / 256).clamp(10 * 256, 16 * 256);
    let power = 1usize << (exponent / 256);
    power + power * to_usize(exponent % 256) / 256
}

/// Files of 40 to 60 MB of noise, as recordings and pictures are to a compressor.
fn media(dir: &Path, mut left: u64, seed: u64) -> Outcome {
    fs::create_dir(dir)?;
    for number in 0u64.. {
        let mut random = Random::of(seed, "media", number);
        let wanted = random.between(MEDIA_FILE_BYTES);
        // The last file takes the rest, so that the sum is exact.
        let bytes = if left < wanted + MEDIA_FILE_BYTES.0 && left <= MEDIA_FILE_BYTES.1 {
            left
        } else {
            wanted.min(left)
        };
        let mut file =
            BufWriter::with_capacity(1 << 20, File::create_new(dir.join(format!("take_{number:03}.mov")))?);
        let mut written = 0;
        while written < bytes {
            let step = (bytes - written).min(1 << 16);
            file.write_all(&random.noise(to_usize(step)))?;
            written += step;
        }
        finish(file.into_inner()?, &mut random)?;
        left -= bytes;
        if left == 0 {
            break;
        }
    }
    Ok(())
}

fn database(path: &Path, bytes: u64, seed: u64) -> Outcome {
    fs::create_dir(path.parent().ok_or("a database lies in a folder")?)?;
    let words = Words::new();
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    for number in 0..bytes / page_bytes() {
        file.write_all(&page(number, &words, &mut Random::of(seed, "page", number)))?;
    }
    finish(file.into_inner()?, &mut Random::of(seed, "db", 0))?;
    Ok(())
}

/// A page as databases have them: a header, rows of text between binary numbers, free space.
fn page(number: u64, words: &Words, random: &mut Random) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE_BYTES + 256);
    page.extend(number.to_le_bytes());
    page.extend(random.next().to_le_bytes());
    let used = PAGE_BYTES - to_usize(random.below(1500));
    let mut row = number * 100;
    while page.len() < used {
        row += 1;
        page.extend(row.to_le_bytes());
        page.extend(random.noise(24));
        page.extend(words.text(64, random));
    }
    page.resize(used, 0);
    page.resize(PAGE_BYTES, 0);
    page
}

/// Of src: 1 % edited inside, 0.5 % added, 0.3 % deleted, 0.2 % renamed. Of the database: 1 % of its
/// pages rewritten at random, 1 % appended.
fn churn(dir: &Path, seed: u64) -> Outcome {
    let mut files = Vec::new();
    files_below(&dir.join("src"), &mut files)?;
    files.sort();
    let words = Words::new();
    let count = u64::try_from(files.len())?;
    let mut random = Random::of(seed, "churn", 0);
    let mut unused: BTreeSet<PathBuf> = files.iter().cloned().collect();
    let mut pick = |random: &mut Random| loop {
        let path = random.one_of(&files);
        if let Some(path) = unused.take(path) {
            return path;
        }
    };
    for _ in 0..count / 100 {
        let path = pick(&mut random);
        let mut text = fs::read(&path)?;
        let at = to_usize(random.below(u64::try_from(text.len())?));
        let length = 1 + to_usize(random.below(200));
        let gone = to_usize(random.below(200)).min(text.len() - at);
        text.splice(at..at + gone, words.text(length, &mut random));
        fs::write(&path, text)?;
    }
    for number in 0..count / 200 {
        let beside = random.one_of(&files).clone();
        let path = beside.with_file_name(format!("{}_new_{seed}_{number}.rs", random.one_of(&words.0)));
        fs::write(path, words.text(src_bytes(&mut random), &mut random))?;
    }
    for _ in 0..count * 3 / 1000 {
        fs::remove_file(pick(&mut random))?;
    }
    for number in 0..count * 2 / 1000 {
        let path = pick(&mut random);
        let new = path.with_file_name(format!("{}_moved_{seed}_{number}.rs", random.one_of(&words.0)));
        // What is renamed is the data set, and nobody relies on it after a power cut.
        #[expect(clippy::disallowed_methods, reason = "the data set changes as a user's tree does")]
        fs::rename(path, new)?;
    }
    churn_database(&dir.join(DB_PATH), &words, &mut random)
}

fn churn_database(path: &Path, words: &Words, random: &mut Random) -> Outcome {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let pages = file.metadata()?.len() / page_bytes();
    let rewritten = (0..pages / 100).map(|_| random.below(pages));
    let numbers: Vec<u64> = rewritten.collect();
    for number in numbers.into_iter().chain(pages..pages + pages / 100) {
        file.seek(SeekFrom::Start(number * page_bytes()))?;
        file.write_all(&page(number, words, random))?;
    }
    Ok(())
}

fn million(dir: &Path, percent: u64, seed: u64) -> Outcome {
    fs::create_dir(dir)?;
    let words = Words::new();
    for number in 0..MILLION_FOLDERS * percent / 100 {
        let mut random = Random::of(seed, "million", number);
        let folder = dir.join(format!("{}_{number:04}", random.one_of(&words.0)));
        fs::create_dir(&folder)?;
        for file in 0..MILLION_FILES_PER_FOLDER {
            let bytes = if random.below(10) < 7 { 0 } else { 1 + to_usize(random.below(511)) };
            write_file(&folder.join(format!("{file:03}.txt")), &words.text(bytes, &mut random), &mut random)?;
        }
    }
    Ok(())
}

/// The least that a look for changes costs: every folder read, every entry's status taken by its
/// folder's descriptor, names sorted. One thread; the standard library makes getdents64 and statx of it.
fn walk(dir: &Path) -> Outcome {
    let (mut entries, mut bytes) = (0u64, 0u64);
    let mut folders = vec![dir.to_owned()];
    let mut names = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let status = entry.metadata()?;
            entries += 1;
            bytes += status.len();
            names.push((entry.file_name(), status.is_dir()));
        }
        names.sort_unstable();
        folders.extend(names.drain(..).filter(|&(_, is_dir)| is_dir).map(|(name, _)| folder.join(name)));
    }
    writeln!(io::stdout(), "{entries} entries, {bytes} bytes")?;
    Ok(())
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8], random: &mut Random) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    finish(file, random)
}

fn finish(file: File, random: &mut Random) -> io::Result<()> {
    let age = Duration::new(EPOCH_SECONDS + random.below(31_536_000), 123_456_789);
    file.set_modified(SystemTime::UNIX_EPOCH + age)
}

fn page_bytes() -> u64 {
    u64::try_from(PAGE_BYTES).expect("a page is small")
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("sizes of single files fit into memory")
}

/// A vocabulary; the same one for every seed.
struct Words(Vec<String>);

impl Words {
    fn new() -> Self {
        let syllables = [
            "ba", "co", "de", "fi", "gen", "hol", "in", "ka", "lor", "men", "no", "per", "qui", "ra", "ste",
            "tu",
        ];
        let mut random = Random::of(0, "words", 0);
        let word =
            |random: &mut Random| (0..1 + random.below(4)).map(|_| *random.one_of(&syllables)).collect();
        Self((0..4096).map(|_| word(&mut random)).collect())
    }

    /// Lines of words, the frequent ones far more frequent, with a number here and there: to a
    /// compressor much like source code.
    fn text(&self, bytes: usize, random: &mut Random) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes + 64);
        while text.len() < bytes {
            let draw = random.next();
            // A uniform draw shifted by a uniform draw: ranks fall off as words of a language do.
            let rank = to_usize(draw % 4096) >> ((draw >> 12) % 7);
            match (draw >> 20) % 12 {
                0 => text.extend(b"\n    "),
                1 => text.extend(format!("{:x}", draw >> 40).bytes()),
                2 => text.extend(b"();\n"),
                _ => text.extend(self.0[rank].bytes()),
            }
            text.push(b' ');
        }
        text.truncate(bytes);
        text
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    /// Each file has its own, so that no file depends on how much another one drew.
    fn of(seed: u64, kind: &str, number: u64) -> Self {
        let mut random = Self(seed);
        for byte in kind.bytes() {
            random.0 = random.next() ^ u64::from(byte);
        }
        random.0 = random.next() ^ number;
        random.0 = random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.below(high - low)
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let count = u64::try_from(items.len()).expect("a slice's length fits");
        &items[to_usize(self.below(count))]
    }

    fn noise(&mut self, bytes: usize) -> Vec<u8> {
        let mut noise: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        noise.truncate(bytes);
        noise
    }
}
