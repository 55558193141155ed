//! Reed-Solomon parity over stretches of equal length: any of them can be lost, as many as there is
//! parity for, and come back. Over GF(2^16), by the algorithm of Lin, Al-Naffouri, Han and Chung
//! (2016), as `reed-solomon-simd` has it. What comes back is as right as what it was made from: who
//! calls compares with a hash.

use std::collections::HashSet;

/// The stretches cannot be made or brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is not enough parity")]
pub struct TooMuchLost;

/// How many parity stretches a share of so many per cent is; at least one where there is any.
pub fn count(stretches: usize, percent: u8) -> usize {
    (stretches * usize::from(percent)).div_ceil(100)
}

/// So many parity stretches of `len` bytes (even) over the data; its last stretch counts as filled
/// with zeros.
///
/// # Errors
/// When there are more than 32,768 of either.
pub fn encode(data: &[u8], len: usize, parity: usize) -> Result<Vec<u8>, TooMuchLost> {
    let last = filled_last(data, len);
    let stretches = stretches(data, len, &last);
    let made = reed_solomon_simd::encode(stretches.len(), parity, stretches).map_err(|_| TooMuchLost)?;
    Ok(made.concat())
}

/// Brings back the stretches `bad` of the data, out of its others and of the parity that is not
/// itself in `bad_parity`.
///
/// # Errors
/// When more are bad than parity is left.
pub fn recover(
    data: &mut [u8],
    len: usize,
    bad: &HashSet<usize>,
    parity: &[u8],
    bad_parity: &HashSet<usize>,
) -> Result<(), TooMuchLost> {
    if bad.is_empty() {
        return Ok(());
    }
    let last = filled_last(data, len);
    let all = stretches(data, len, &last);
    let good = all.iter().copied().enumerate().filter(|(number, _)| !bad.contains(number));
    let left = parity.chunks_exact(len).enumerate().filter(|(number, _)| !bad_parity.contains(number));
    let count = parity.len() / len;
    let made = reed_solomon_simd::decode(all.len(), count, good, left).map_err(|_| TooMuchLost)?;
    let mut back = Vec::new();
    for number in bad {
        back.push((*number, made.get(number).cloned().ok_or(TooMuchLost)?));
    }
    for (number, bytes) in back {
        let start = number * len;
        let end = (start + len).min(data.len());
        if let Some(place) = data.get_mut(start..end) {
            place.copy_from_slice(&bytes[..place.len()]);
        }
    }
    Ok(())
}

fn filled_last(data: &[u8], len: usize) -> Vec<u8> {
    let whole = data.len() / len * len;
    let mut last = data[whole..].to_vec();
    if !last.is_empty() {
        last.resize(len, 0);
    }
    last
}

fn stretches<'a>(data: &'a [u8], len: usize, last: &'a [u8]) -> Vec<&'a [u8]> {
    let mut all: Vec<&[u8]> = data.chunks_exact(len).collect();
    if !last.is_empty() {
        all.push(last);
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_many_stretches_as_there_is_parity_come_back_and_no_more(
            data in prop::collection::vec(any::<u8>(), 1..5000),
            parity in 1usize..8,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 8),
        ) {
            let len = 64;
            let made = encode(&data, len, parity).expect("encoded");
            prop_assert_eq!(made.len(), parity * len);
            let stretches = data.len().div_ceil(len);
            let bad: HashSet<usize> = picks.iter().take(parity).map(|pick| pick.index(stretches)).collect();
            let mut hurt = data.clone();
            for number in &bad {
                let end = ((number + 1) * len).min(data.len());
                hurt[number * len..end].fill(0xee);
            }
            recover(&mut hurt, len, &bad, &made, &HashSet::new()).expect("recovered");
            prop_assert_eq!(&hurt, &data);
            let none_left: HashSet<usize> = (bad.len() - 1..parity).collect();
            prop_assert!(recover(&mut hurt, len, &bad, &made, &none_left).is_err());
        }
    }

    #[test]
    fn a_share_is_rounded_up() {
        assert_eq!([count(256, 8), count(1, 8), count(100, 0), count(10, 25)], [21, 1, 0, 3]);
    }
}
