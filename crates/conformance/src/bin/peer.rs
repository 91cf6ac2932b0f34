//! `peer NAME exclusive|shared PATH`: one try with one of the peer libraries.

use std::path::PathBuf;

use holdlock_conformance::peers::Peer;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let mut word = || arguments.next().expect("an argument").into_string();
    let peer = Peer::from_name(&word().expect("utf-8")).expect("a peer");
    let shared = word().expect("utf-8") == "shared";
    let path = PathBuf::from(arguments.next().expect("a path"));
    let tried = peer.locked(&path, shared, false, || ());
    match tried.expect("no error") {
        Some(()) => println!("inside"),
        None => println!("busy"),
    }
}
