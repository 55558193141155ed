//! Breadth-first search over every order of the actors' steps: the first broken promise found is
//! one with the fewest steps. States are remembered by a 64-bit fingerprint.

use std::hash::{Hash, Hasher};

use super::model::Model;
use super::state::{Act, State};

/// Multiplies and turns each word: quick without optimisation, and good enough for fingerprints.
#[derive(Default)]
pub(crate) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        let x = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let x = (x ^ (x >> 29)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (x ^ (x >> 32)).max(1)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

fn fingerprint(value: &impl Hash) -> u64 {
    let mut mixer = Mixer::default();
    value.hash(&mut mixer);
    mixer.finish()
}

/// A set of fingerprints: open addressing, zero is free.
pub(crate) struct Seen {
    slots: Vec<u64>,
    used: usize,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self { slots: vec![0; 1 << 16], used: 0 }
    }

    /// Whether it is new.
    pub(crate) fn insert(&mut self, value: &impl Hash) -> bool {
        if self.used * 2 > self.slots.len() {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![0; old.len() * 2];
            old.into_iter().filter(|print| *print != 0).for_each(|print| {
                self.place(print);
            });
        }
        let new = self.place(fingerprint(value));
        self.used += usize::from(new);
        new
    }

    fn place(&mut self, print: u64) -> bool {
        let mask = self.slots.len() - 1;
        let mut at = usize::try_from(print >> 16).unwrap_or(0) & mask;
        loop {
            match self.slots[at] {
                0 => {
                    self.slots[at] = print;
                    return true;
                }
                other if other == print => return false,
                _ => at = (at + 1) & mask,
            }
        }
    }
}

/// What a search found.
pub(crate) struct Found {
    /// Distinct states.
    pub(crate) states: usize,
    /// Whether every state within the bounds was seen.
    pub(crate) whole: bool,
    /// The shortest way to a broken promise.
    pub(crate) broken: Option<String>,
}

/// Explores until a promise is broken, nothing new is found, or `states_max` are known.
pub(crate) fn explore(model: &Model, states_max: usize) -> Found {
    let mut seen = Seen::new();
    let mut settled = Seen::new();
    let first = model.first();
    seen.insert(&first);
    let mut known: Vec<(State, u32)> = vec![(first, u32::MAX)];
    let mut next = Vec::new();
    let mut at = 0;
    while at < known.len() {
        let state = known[at].0;
        model.steps(&state, &mut next);
        for (_, mut state) in next.drain(..) {
            state.canonical();
            if !seen.insert(&state) {
                continue;
            }
            known.push((state, u32::try_from(at).expect("few enough")));
            let broken = model.broken(&state).or_else(|| {
                (model.case.settles && model.out.is_empty() && settled.insert(&state.stored()))
                    .then(|| model.unsettled(&state))?
            });
            if let Some(what) = broken {
                return Found {
                    states: known.len(),
                    whole: false,
                    broken: Some(trace(model, &known, &what)),
                };
            }
        }
        if known.len() >= states_max {
            return Found { states: known.len(), whole: false, broken: None };
        }
        at += 1;
    }
    Found { states: known.len(), whole: true, broken: None }
}

/// The steps that lead to the last state known.
fn trace(model: &Model, known: &[(State, u32)], what: &str) -> String {
    let mut way = vec![known.len() - 1];
    while let Some(parent) =
        known[way[way.len() - 1]].1.try_into().ok().filter(|at: &usize| *at < known.len())
    {
        way.push(parent);
    }
    way.reverse();
    let mut text = String::new();
    let mut next = Vec::new();
    for pair in way.windows(2) {
        model.steps(&known[pair[0]].0, &mut next);
        let to = known[pair[1]].0;
        let act: Option<Act> = next.drain(..).find_map(|(act, mut state)| {
            state.canonical();
            (state == to).then_some(act)
        });
        let act = act.expect("a step leads there");
        text.push_str(&format!("  {:9} {} {}\n", act.who, act.what, act.of));
    }
    format!("{text}  => {what}")
}
