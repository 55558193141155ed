//! The process: arguments to the terminal face, its answer to the exit code.

fn main() {}
