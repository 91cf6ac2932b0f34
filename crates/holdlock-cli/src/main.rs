//! The command `holdlock`.
fn main() {}
