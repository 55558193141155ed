//! A deterministic mutator: the same seed gives the same inputs, on every machine.

/// A small generator (xorshift64*); nothing here needs a better one.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 when that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("a length");
        usize::try_from((self.next() >> 11) % end).expect("below a length")
    }

    /// A place in `len` bytes: every second one near the head, where lengths and counts stand.
    fn place(&mut self, len: usize) -> usize {
        let end = if self.below(2) == 0 { len.min(160) } else { len };
        self.below(end)
    }
}

/// Numbers at which lengths go wrong.
const LENGTHS: [u64; 10] =
    [0, 1, 0x7f, 0xffff, 1 << 24, (1 << 31) - 1, 0xffff_ffff, 1 << 40, 1 << 63, u64::MAX];

/// `base` after one to four changes: bits, bytes, lengths of any width, cuts, doubled and foreign
/// stretches.
pub(crate) fn mutate(dice: &mut Dice, base: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.place(bytes.len());
        match dice.below(8) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'/', b'.'][dice.below(7)],
            3 => {
                let number = LENGTHS[dice.below(LENGTHS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][dice.below(4)];
                bytes.iter_mut().skip(at).zip(&number[..width]).for_each(|(byte, new)| *byte = *new);
            }
            4 => {
                // The longest number that LEB128 writes.
                let number = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
                let from = number.len() - 1 - dice.below(number.len());
                bytes.splice(at..(at + 1).min(bytes.len()), number[from..].iter().copied());
            }
            5 => bytes.truncate(at),
            6 => {
                let end = (at + dice.below(64)).min(bytes.len());
                let copy = bytes[at.min(end)..end].to_vec();
                let to = dice.place(bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => {
                let from = dice.place(other.len());
                let stretch = &other[from..(from + dice.below(64)).min(other.len())];
                let end = (at + stretch.len()).min(bytes.len());
                bytes.splice(at.min(end)..end, stretch.iter().copied());
            }
        }
    }
    bytes
}
