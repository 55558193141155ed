//! Lifeboat: backups in three copies, and proof that they come back.
//!
//! The folders are floors; each uses only floors below it (`ARCHITECTURE.md`, held by
//! `tests/architecture.rs`). From the top: [`cli`] and [`daemon`] are the faces, [`app`] the
//! one door to everything below them, [`drill`] and [`report`] the proof, [`engine`] the
//! verbs, [`repository`], [`source`], [`catalog`] and [`evidence`] what is stored, what is
//! backed up, what happened and what can be proven, [`codec`], [`storage`] and [`policy`]
//! bytes, media and promises, [`base`] the words.

pub mod alert;
pub mod app;
pub mod base;
pub mod catalog;
pub mod cli;
pub mod codec;
pub mod daemon;
pub mod drill;
pub mod engine;
pub mod evidence;
pub mod policy;
pub mod report;
pub mod repository;
pub mod source;
pub mod storage;
