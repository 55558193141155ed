//! Telling people: the forms of what is told, and the ways it goes: mail, web addresses, heartbeats.
//! Sends what it is given; who is told about what, and when again, is decided above.

mod error;
mod form;
mod hook;
mod mail;
mod notice;
mod secret;

pub use error::AlertError;
pub use hook::{beat, post};
pub use mail::send as mail;
pub use notice::{Notice, Person};
