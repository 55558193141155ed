//! TEMP
/// What to do about occurrences that passed while nothing ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp { /// a
 Once, /// b
 Skip }
