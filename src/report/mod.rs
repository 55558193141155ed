//! Records as data, then as pages. A number without a record is not in a report.
//!
//! `drill` is the report of one drill as data; its published schema is
//! `docs/drill-report.schema.json`. `limits` states what a drill did not show. `html` prints the
//! data as one self-contained page, with the words of `labels`.

pub mod drill;
pub mod html;
pub mod kit;
pub mod labels;
pub mod limits;

mod bar;
mod style;
mod text;

pub use drill::DrillReport;
pub use html::{Seal, page};
