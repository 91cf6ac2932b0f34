//! `holdlock engine init URL`: makes what some options need at an engine.

use std::ffi::OsString;

use super::{failure, open_place, tell};
use crate::exit::{self, Outcome};
use crate::show::output::print;

pub(crate) fn init(url: OsString) -> Outcome {
    let place = open_place(&url)?;
    tell(place.warnings());
    let done = place.init().map_err(|error| failure(&error))?;
    print(&format!("{}: {done}\n", place.name()))?;
    Ok(exit::SUCCESS)
}
