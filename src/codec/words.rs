//! 32 secret bytes as 24 English words: the list and the checksum of BIP-39, and nothing else of it
//! (no passphrase, no PBKDF2). The first four letters of a word are enough to know it.

use bip0039::{English, Mnemonic};
use zeroize::Zeroizing;

use crate::base::secret::{Key, Secret};

/// So many words are 32 bytes and a checksum of one.
pub const WORDS: usize = 24;

/// Why words are no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// Too few, or too many.
    #[error("there are {0} words, not 24")]
    Count(usize),
    /// One is not in the list. Which one, counted from 1; the word itself is never repeated.
    #[error("word {0} is not one of the list")]
    Unknown(usize),
    /// Each is in the list, and together they make no sense.
    #[error("the checksum is wrong: a word is another one, or two changed places")]
    Checksum,
}

/// The words of a secret.
pub fn to_words(key: &Key) -> Vec<&'static str> {
    let mnemonic = Mnemonic::<English>::from_entropy(key.expose().to_vec()).expect("32 bytes are 24 words");
    let known = |word: &str| English::words().iter().copied().find(|listed| *listed == word);
    mnemonic.phrase().split(' ').filter_map(known).collect()
}

/// Reads 24 words: in any case, cut to four letters or longer, with numbers, dots and line ends
/// between them.
///
/// # Errors
/// When there are not 24, one is unknown, or the checksum is wrong.
pub fn from_words(text: &str) -> Result<Key, WordsError> {
    let list = English::words();
    let given: Vec<&str> = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    if given.len() != WORDS {
        return Err(WordsError::Count(given.len()));
    }
    let mut whole = Vec::with_capacity(WORDS);
    for (at, word) in given.iter().enumerate() {
        let word = Zeroizing::new(word.to_lowercase());
        let exact = list.iter().find(|known| **known == word.as_str());
        let mut longer = list.iter().filter(|known| word.len() >= 4 && known.starts_with(word.as_str()));
        whole.push(*exact.or_else(|| longer.next()).ok_or(WordsError::Unknown(at + 1))?);
    }
    let text = Zeroizing::new(whole.join(" "));
    let mnemonic =
        Mnemonic::<English>::from_normalized_phrase(text.as_str()).map_err(|_| WordsError::Checksum)?;
    let secret: [u8; 32] = mnemonic.entropy().try_into().map_err(|_| WordsError::Checksum)?;
    Ok(Secret::new(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: [u8; 32]) -> String {
        to_words(&Secret::new(bytes)).join(" ")
    }

    fn read(text: &str) -> Result<[u8; 32], WordsError> {
        from_words(text).map(|key| *key.expose())
    }

    #[test]
    fn words_are_those_of_the_published_vectors() {
        // BIP-39's test vectors of 256 bits.
        assert_eq!(words([0; 32]), format!("{}art", "abandon ".repeat(23)));
        assert_eq!(words([0xff; 32]), format!("{}vote", "zoo ".repeat(23)));
        assert_eq!(
            words([0x7f; 32]),
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth \
             useful legal winner thank year wave sausage worth title"
        );
    }

    #[test]
    fn words_are_read_numbered_cut_to_four_letters_and_in_any_case() {
        let bytes = std::array::from_fn(|at| u8::try_from(at * 7 + 1).expect("small"));
        let words = to_words(&Secret::new(bytes));
        assert_eq!(read(&words.join(" ")), Ok(bytes));
        let short: Vec<&str> = words.iter().map(|word| &word[..word.len().min(4)]).collect();
        assert_eq!(read(&short.join("\n").to_uppercase()), Ok(bytes));
        let numbered: Vec<String> =
            words.iter().enumerate().map(|(at, word)| format!("{}. {word}", at + 1)).collect();
        assert_eq!(read(&numbered.join("\t")), Ok(bytes));
    }

    #[test]
    fn a_wrong_missing_or_exchanged_word_is_noticed_and_never_repeated() {
        let mut words = to_words(&Secret::new([7; 32]));
        words[3] = "ability";
        let exchanged = {
            let mut w = to_words(&Secret::new([9; 32]));
            w.swap(0, 23);
            w.join(" ")
        };
        assert!(matches!(read(&words.join(" ")), Err(WordsError::Checksum)));
        assert!(read(&exchanged).is_err());
        assert_eq!(read(&words[1..].join(" ")), Err(WordsError::Count(23)));
        words[5] = "lifeboat";
        let error = read(&words.join(" ")).unwrap_err();
        assert_eq!(error, WordsError::Unknown(6));
        assert!(!error.to_string().contains("lifeboat"));
        assert_eq!(read(""), Err(WordsError::Count(0)));
    }
}
