//! Looking into trees that lie in memory: what it finds, what it reads, what hostile bytes do. And works on media whose power goes.

mod look;
mod sim;
mod trees;
