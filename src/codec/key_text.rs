//! How 32 secret bytes are written for people: one line of Bech32m (BIP-350), which says what it
//! is, holds no letter that is taken for another, and has a checksum that finds every typing error
//! of up to four letters.
//!
//! `lifeboat-key-1...` is a key file's line, `LIFEBOAT-RECOVERY-1...` a recovery kit's,
//! `lifeboat-private-1...` a recipient's private part and `lifeboat-recipient-1...` its public one. The data are
//! a version byte, 1, and the secret.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use zeroize::Zeroizing;

use crate::base::secret::{Key, Secret};

const VERSION: u8 = 1;

/// What a line of text is the secret of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyText {
    /// A key file's line.
    KeyFile,
    /// A recovery kit's line.
    RecoveryCode,
    /// A recipient's private part.
    RecipientKey,
    /// A recipient's public part: no secret.
    Recipient,
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It begins with another word.
    #[error("it does not begin with the word that such a key begins with")]
    Foreign,
    /// A letter is wrong or missing.
    #[error("its checksum is wrong: a letter was changed, or some are missing")]
    Damaged,
    /// A later version wrote it.
    #[error("a newer version wrote it")]
    TooNew,
}

impl KeyText {
    /// The word before the separator `1`.
    fn prefix(self) -> &'static str {
        match self {
            Self::KeyFile => "lifeboat-key-",
            Self::RecoveryCode => "lifeboat-recovery-",
            Self::RecipientKey => "lifeboat-private-",
            Self::Recipient => "lifeboat-recipient-",
        }
    }

    /// Whether a text means to be such a key, whole or not.
    pub fn claims(self, text: &str) -> bool {
        let prefix = self.prefix();
        text.trim().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }

    /// The first such key in a longer text, such as a page.
    ///
    /// # Errors
    /// `Foreign` when there is none; else as [`Self::read`] of the first that reads, or of the first.
    pub fn find(self, text: &str) -> Result<Key, KeyTextError> {
        let mut first = KeyTextError::Foreign;
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            if !self.claims(word) {
                continue;
            }
            match self.read(word) {
                Err(error) if first == KeyTextError::Foreign => first = error,
                Err(_) => {}
                read => return read,
            }
        }
        Err(first)
    }

    /// One line, without an end.
    pub fn write(self, key: &Key) -> Zeroizing<String> {
        let mut data = Zeroizing::new(vec![VERSION]);
        data.extend_from_slice(key.expose());
        let hrp = Hrp::parse_unchecked(self.prefix());
        Zeroizing::new(bech32::encode::<Bech32m>(hrp, &data).expect("33 bytes and a short prefix fit"))
    }

    /// Reads a line; white space around it and its case don't matter.
    ///
    /// # Errors
    /// When it begins with another word, is damaged, or is a later version's.
    pub fn read(self, text: &str) -> Result<Key, KeyTextError> {
        if !self.claims(text) {
            return Err(KeyTextError::Foreign);
        }
        let text = text.trim();
        let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| KeyTextError::Damaged)?;
        if !checked.hrp().as_str().eq_ignore_ascii_case(self.prefix()) {
            return Err(KeyTextError::Foreign);
        }
        let data = Zeroizing::new(checked.byte_iter().collect::<Vec<u8>>());
        let Some((&version, secret)) = data.split_first() else { return Err(KeyTextError::Damaged) };
        if version != VERSION {
            return Err(KeyTextError::TooNew);
        }
        let key = Secret::new(<[u8; 32]>::try_from(secret).map_err(|_| KeyTextError::Damaged)?);
        // One spelling: bits that stand for nothing are zero.
        if !self.write(&key).eq_ignore_ascii_case(text) {
            return Err(KeyTextError::Damaged);
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "lifeboat-key-1qyqssrckr5jzkv3egpr5u42uvd48z7rls6xefxaz4xct00k9enfa5u7hjwu";

    fn key() -> Key {
        Secret::new(std::array::from_fn(|at| u8::try_from(at * 7 + 1).expect("small")))
    }

    #[test]
    fn a_key_files_line_is_frozen_and_reads_back_in_either_case() {
        assert_eq!(*KeyText::KeyFile.write(&key()), LINE);
        for text in [LINE.to_owned(), LINE.to_uppercase(), format!(" {LINE}\r\n")] {
            assert_eq!(KeyText::KeyFile.read(&text).map(|read| *read.expose()), Ok(*key().expose()));
        }
    }

    #[test]
    fn a_recovery_kits_line_is_frozen_and_found_in_a_page() {
        let line = "lifeboat-recovery-1qyqssrckr5jzkv3egpr5u42uvd48z7rls6xefxaz4xct00k9enfa5qje5w2";
        assert_eq!(*KeyText::RecoveryCode.write(&key()), line);
        let page = format!("<p>lifeboat-recovery-1 it is:<code>{}</code></p>", line.to_uppercase());
        assert_eq!(KeyText::RecoveryCode.find(&page).map(|read| *read.expose()), Ok(*key().expose()));
        let without = KeyText::RecoveryCode.find(LINE).map(|_| ());
        assert_eq!(without, Err(KeyTextError::Foreign), "a key file is no recovery code");
        assert_eq!(KeyText::KeyFile.read(line).map(|_| ()), Err(KeyTextError::Foreign));
    }

    #[test]
    fn every_changed_missing_or_doubled_letter_of_a_key_is_noticed() {
        let refused = |text: &str| assert!(KeyText::KeyFile.read(text).is_err(), "{text}");
        for at in 0..LINE.len() {
            let (before, after) = (&LINE[..at], &LINE[at + 1..]);
            let other = if &LINE[at..=at] == "q" { "p" } else { "q" };
            refused(&format!("{before}{other}{after}"));
            refused(&format!("{before}{after}"));
            refused(&format!("{before}{other}{}", &LINE[at..]));
        }
        refused("");
        refused("lifeboat-key-1");
        refused("lifeboat-key-é");
    }

    #[test]
    fn a_key_has_one_spelling() {
        use bech32::primitives::iter::{ByteIterExt, Fe32IterExt};
        let data: Vec<u8> = std::iter::once(VERSION).chain(*key().expose()).collect();
        let mut letters: Vec<bech32::Fe32> = data.iter().copied().bytes_to_fes().collect();
        let last = letters.last_mut().expect("letters");
        // 33 bytes leave one bit of the last letter that stands for nothing.
        *last = bech32::Fe32::try_from(last.to_u8() | 1).expect("5 bits");
        let hrp = Hrp::parse_unchecked(KeyText::KeyFile.prefix());
        let text: String = letters.into_iter().with_checksum::<Bech32m>(&hrp).chars().collect();
        assert_ne!(text, LINE);
        assert_eq!(KeyText::KeyFile.read(&text).map(|_| ()), Err(KeyTextError::Damaged));
    }

    #[test]
    fn a_key_of_a_later_version_or_of_another_length_is_told_apart() {
        let written = |data: &[u8]| {
            let hrp = Hrp::parse_unchecked(KeyText::KeyFile.prefix());
            let text = bech32::encode::<Bech32m>(hrp, data).expect("short");
            KeyText::KeyFile.read(&text).map(|_| ()).unwrap_err()
        };
        assert_eq!(written(&[2; 33]), KeyTextError::TooNew);
        assert_eq!(written(&[1; 32]), KeyTextError::Damaged);
        assert_eq!(written(&[1; 34]), KeyTextError::Damaged);
        assert_eq!(written(&[]), KeyTextError::Damaged);
    }
}
