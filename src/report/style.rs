//! The one style sheet of all pages: screen, dark screen, and A4 paper.

/// Inlined into each page; loads nothing.
pub(super) const CSS: &str = include_str!("style.css");
