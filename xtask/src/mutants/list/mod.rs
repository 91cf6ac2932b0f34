//! The mechanisms that `cargo xtask mutants` takes out, one at a time: a file for each area.

mod command;
mod convert;
mod deadlock;
mod descriptors;
mod etcd;
mod fair;
mod files;
mod fork;
mod idle;
mod inspect;
mod keeper;
mod names;
mod postgres;
mod python;
mod record;
mod redis;
mod removal;
mod removed_holder;
mod run;
mod sets;
mod signals;
mod slots;
mod tasks;
mod threads;
mod waits;

use super::Area;

pub(super) const AREAS: &[Area] = &[
    removal::AREA,
    removed_holder::AREA,
    descriptors::AREA,
    files::AREA,
    idle::AREA,
    threads::AREA,
    fork::AREA,
    waits::AREA,
    signals::AREA,
    fair::AREA,
    slots::AREA,
    sets::AREA,
    tasks::AREA,
    deadlock::AREA,
    convert::AREA,
    record::AREA,
    inspect::AREA,
    names::AREA,
    run::AREA,
    command::AREA,
    keeper::AREA,
    postgres::AREA,
    redis::AREA,
    etcd::AREA,
    python::AREA,
];
