//! `lifeboat key kit`, `lifeboat repo key kit`, and the question that `repo init` asks at a terminal.
//!
//! A kit counts when somebody has shown that he has it, by two of its words, or has said in words
//! that there is none. Nothing else ends the question.

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::repo::plumbing;
use crate::app::error::AppError;
use crate::app::keys::Keys;
use crate::app::kit::KitMade;
use crate::base::entropy;
use crate::base::error::{Class, Failure};
use crate::cli::args::{KitChoice, ManyRepos};
use crate::cli::output::{JSON_VERSION, Output, escape, stderr_is_terminal};
use crate::cli::run::Session;
use crate::repository::format::slot::SlotSecret;

/// What has to be typed to go on without a kit.
const DECLINED: &str = "I have no recovery kit";
const WORDS_IN_A_ROW: usize = 6;

/// What became of the kit at `init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Somebody typed two of its words.
    Confirmed,
    /// Made, by a flag, with nobody to ask.
    Made,
    /// Declined in words, or by a flag.
    Declined,
    /// Nobody was there to be asked.
    None,
}

impl Answer {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Made => "made",
            Self::Declined => "declined",
            Self::None => "none",
        }
    }
}

/// Makes a kit.
pub(super) fn make(out: Output, keys: &Keys<'_>, secret: &SlotSecret, base: &Path) -> Result<u8, Failure> {
    let kit = keys.make_kit(secret, base)?;
    let code = if kit.slot.away.is_empty() { 0 } else { Class::Partial.exit_code() };
    if out.is_json() {
        // Never the words: what is printed here goes to logs.
        out.json(&json!({
            "version": JSON_VERSION, "exit": code, "slot": kit.slot, "page": kit.page, "text": kit.text,
            "older": kit.older,
        }));
        return Ok(code);
    }
    name_files(out, &kit);
    Ok(code)
}

fn name_files(out: Output, kit: &KitMade) {
    for away in &kit.slot.away {
        out.talk(&format!("away: {} lacks the kit's slot: {}", escape(&away.target), escape(&away.reason)));
    }
    out.line(&format!("recovery kit: {} and {}", kit.page.display(), kit.text.display()));
    out.talk("Print the page, keep it away from the machine and from the targets, and delete both files.");
    for id in &kit.older {
        out.talk(&format!(
            "an older kit opens the repository, too: `key remove ... {}` takes that away",
            id.short()
        ));
    }
}

/// The kit of a repository that was just made: at a terminal it is made, shown, and asked for;
/// elsewhere only a flag makes it, and its absence is loud.
///
/// # Errors
/// When it cannot be made; `KitUnanswered` when the input ends before an answer.
pub(super) fn at_init(
    session: &Session,
    at: &ManyRepos,
    choice: &KitChoice,
    secret: &SlotSecret,
    repository: &str,
) -> Result<Answer, Failure> {
    if choice.no_recovery_kit {
        return Ok(Answer::Declined);
    }
    let out = session.output;
    let asks = std::io::stdin().is_terminal() && stderr_is_terminal() && !out.is_json();
    let base = match &choice.recovery_kit_out {
        Some(base) => base.clone(),
        None if asks => {
            PathBuf::from(format!("lifeboat-recovery-kit-{}", repository.get(..8).unwrap_or(repository)))
        }
        None => {
            // Talk, not an event: with --json standard output has the result alone, and this is never quiet.
            out.talk(
                "warning: NO RECOVERY KIT EXISTS. Whoever loses the secret loses every backup: `lifeboat repo key kit \
                 --out FILE` makes a page that opens the repository when everything else is lost",
            );
            return Ok(Answer::None);
        }
    };
    let kit = plumbing(session, &at.access).keys(&at.repos).make_kit(secret, &base)?;
    if !out.is_json() {
        name_files(out, &kit);
    }
    if !asks {
        return Ok(Answer::Made);
    }
    show(out, &kit.words);
    match ask(out, &kit.words, &mut std::io::stdin().lock()) {
        Some(Answer::Declined) => {
            kit.discard()?;
            out.talk("The kit and its slot are gone again. `lifeboat repo key kit` makes one at any time.");
            Ok(Answer::Declined)
        }
        Some(answer) => Ok(answer),
        None => Err(AppError::KitUnanswered.into()),
    }
}

fn show(out: Output, words: &[&str]) {
    out.talk("");
    out.talk("The 24 words of the kit, which open every backup of this repository:");
    for (row, words) in words.chunks(WORDS_IN_A_ROW).enumerate() {
        let row: Vec<String> = words
            .iter()
            .enumerate()
            .map(|(at, word)| format!("{:>2} {word:<9}", row * WORDS_IN_A_ROW + at + 1))
            .collect();
        out.talk(&format!("  {}", row.join(" ")));
    }
}

/// Asks until two of the words come back, or the sentence. `None` when the input ends.
fn ask(out: Output, words: &[&str], input: &mut dyn BufRead) -> Option<Answer> {
    let count = u32::try_from(words.len()).ok()?;
    loop {
        let first = entropy::below(count);
        let second = (first + 1 + entropy::below(count - 1)) % count;
        let numbers = [first.min(second), first.max(second)];
        out.talk("");
        out.talk(&format!(
            "Look at your copy of the kit and type word {} and word {}; or type `{DECLINED}`:",
            numbers[0] + 1,
            numbers[1] + 1
        ));
        let mut line = String::new();
        if input.take(1024).read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.split_whitespace().collect::<Vec<_>>().join(" ").eq_ignore_ascii_case(DECLINED) {
            return Some(Answer::Declined);
        }
        let wanted = numbers.map(|at| usize::try_from(at).ok().and_then(|at| words.get(at)).copied());
        let given: Vec<String> = line.split_whitespace().map(str::to_lowercase).collect();
        let [Some(one), Some(two)] = wanted else { return None };
        if given == [one, two] {
            return Some(Answer::Confirmed);
        }
        out.talk("These are not the two words.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Style;

    const QUIET: Output = Output { style: Style::Text, quiet: true };

    fn asked(words: &[&str], typed: &str) -> Option<Answer> {
        ask(QUIET, words, &mut std::io::Cursor::new(typed.as_bytes()))
    }

    #[test]
    fn only_two_words_of_the_kit_or_the_sentence_end_the_question() {
        // Of equal words any two are right; which numbers are asked for is drawn.
        let words = ["same"; 24];
        assert_eq!(asked(&words, "same Same\n"), Some(Answer::Confirmed));
        assert_eq!(
            asked(&words, "other same\n\nyes\nsame\nsame same same\nsame same\n"),
            Some(Answer::Confirmed)
        );
        for nothing in ["", "yes\n", "y\n", "no\n", "\n\n", "no kit\n", "same\n"] {
            assert_eq!(asked(&words, nothing), None, "{nothing:?}");
        }
        assert_eq!(asked(&words, "i  have no Recovery kit\n"), Some(Answer::Declined));
        // Two different words: their order is the kit's.
        let words: Vec<String> = (0..24).map(|number| format!("w{number}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let all_pairs: String =
            (0..24).flat_map(|one| (0..one).map(move |two| format!("w{one} w{two}\n"))).collect();
        assert_eq!(asked(&words, &all_pairs), None, "the later word first is never right");
    }
}
