//! The tests that each engine has to pass. The module `server` of a test program has the engine's
//! part: `shared()` gives a server, or says why there is none, with `url(name)`, `port()`,
//! `url_at(port, name)` and `nothing_left(name)`.

mod basic;
mod beside;
mod churn;
mod closed;
mod ending;
mod fork;
mod lost;
mod name_service;
mod order;
mod partition;
mod turns;
