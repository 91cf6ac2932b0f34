//! In a container: which processes outside of it share the lock, and which do not.

use std::fs;
use std::path::Path;

use super::file_system;
use super::finding::Finding;
use super::place::Place;

/// The number that the kernel gives to the first of all pid namespaces.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

pub(super) fn look(place: &Place) -> Option<Finding> {
    let why = signs()?;
    let root = file_system::mount_of(Path::new("/"));
    let here = file_system::mount_of(&place.directory);
    let same = root.as_ref().map(|mount| mount.id) == here.as_ref().map(|mount| mount.id);
    let Some(here) = here else {
        return Some(Finding::note(
            "container",
            format!("this is a container ({why})"),
        ));
    };
    Some(if same {
        let found = format!(
            "this is a container ({why}), and the path is in its own file system: \
             no process of the host or of another container can lock it there"
        );
        Finding::note("container", found).remedy(
            "if such processes need the lock, mount a directory of the host into each container \
             and lock a file there",
        )
    } else {
        let found = format!(
            "this is a container ({why}), and {} is a mount of its own: the lock works \
             between all processes that use this {} file system; holders outside cannot be named \
             here",
            here.point.display(),
            here.kind
        );
        Finding::note("container", found)
    })
}

/// The sign that this is a container.
fn signs() -> Option<&'static str> {
    if Path::new("/.dockerenv").exists() {
        return Some("/.dockerenv");
    }
    if Path::new("/run/.containerenv").exists() {
        return Some("/run/.containerenv");
    }
    if fs::read_link("/proc/self/ns/pid").is_ok_and(|space| space != Path::new(FIRST_PID_NAMESPACE))
    {
        return Some("a pid namespace of its own");
    }
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let engines = ["/docker", "/lxc", "/kubepods", "/libpod", "containerd"];
    let named = engines.iter().any(|engine| groups.contains(engine));
    named.then_some("its control group")
}
