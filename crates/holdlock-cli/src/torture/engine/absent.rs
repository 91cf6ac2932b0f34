//! A program without engines has none in a run.

use std::ffi::OsStr;
use std::path::Path;

use super::About;
use crate::engines::refused;
use crate::exit::Failure;
use crate::torture::mode::Mode;

#[derive(Clone)]
pub(in crate::torture) enum Engine {}

impl Engine {
    pub(in crate::torture) fn inherited(_: &Path) -> Option<Engine> {
        None
    }

    pub(in crate::torture) fn named(url: &OsStr, _: &Path) -> Result<Engine, Failure> {
        Err(refused(url))
    }

    pub(in crate::torture) fn variable(&self) -> (&'static str, &str) {
        match *self {}
    }

    pub(in crate::torture) fn lock_name(&self, _: Mode) -> String {
        match *self {}
    }

    pub(in crate::torture) fn try_once(&self, _: Mode) -> Result<About, Failure> {
        match *self {}
    }

    pub(in crate::torture) fn holders(&self, _: Mode) -> Option<Vec<String>> {
        match *self {}
    }

    pub(in crate::torture) fn end(&self, _: Mode, _: u64) -> bool {
        match *self {}
    }
}
