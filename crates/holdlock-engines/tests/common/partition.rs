//! A host that is cut off from the engine. The module `partition` of a test program has the
//! engine's part: `site(name)` gives a server in a network, or says why there is none.

use std::time::Duration;

use holdlock_test_support::network::Cut;
use holdlock_test_support::{eventually, watchdog};

use crate::partition::site;
use crate::support::actor::Actor;
use crate::support::partition::Site;

#[test]
fn a_holder_that_is_cut_off_stops_before_the_next_one_begins() {
    stops_before_the_next_one_begins("cut-off", 1, Cut::Both);
}

#[test]
fn a_holder_whose_messages_are_lost_stops_before_the_next_one_begins() {
    stops_before_the_next_one_begins("mute", 2, Cut::Sent);
}

#[test]
fn a_holder_that_hears_no_answers_stops_before_the_next_one_begins() {
    stops_before_the_next_one_begins("deaf", 3, Cut::Received);
}

/// The network of a holder on this host is cut. The holder knows so at its deadline, and the next
/// holder comes after that.
fn stops_before_the_next_one_begins(name: &str, host: usize, cut: Cut) {
    let _dog = watchdog::watch(90);
    let Some(site) = site(name) else { return };
    assert!((0..3).any(|_| stops_in_time(&site, host, cut)), "{cut:?}");
}

/// Whether the holder's thread woke at the deadline. On a slow machine it may wake later, when it
/// may know more, and the next one may hold the lock.
fn stops_in_time(site: &Site<'_>, host: usize, cut: Cut) -> bool {
    let (mut holder, mut next, mut looks) = (site.actor(host), site.actor(0), site.actor(0));
    held(&holder.ask("lock"));
    next.tell("lock");
    eventually("one waits", || looks.ask("waiters") == "1");
    assert_eq!(holder.ask("check"), "Ok(())");
    site.network.cut(host, cut);
    let lost = holder.ask("await-loss");
    // A definite loss takes the deadline away.
    let (lost_at, deadline) = (at(&mut holder, "lost-at"), at(&mut holder, "deadline"));
    held(&next.answer());
    let began = at(&mut next, "held-at");
    let late = lost_at.saturating_sub(deadline);
    let in_time = late < Duration::from_millis(500);
    if in_time {
        assert!(lost.starts_with("unsure"), "{cut:?}: {lost}");
        assert!(lost_at < began, "{cut:?}: {lost_at:?}, but {began:?}");
    } else {
        println!("{cut:?}: {late:?} late: {lost}");
    }
    let margin = began.saturating_sub(deadline);
    assert!(margin > Duration::from_millis(300), "{cut:?}: {margin:?}");
    // The holder is not valid, and learns that it has lost the lock when it gets through again.
    assert_eq!(holder.ask("valid"), "false");
    site.network.cut(host, Cut::Nothing);
    eventually("it learns it", || holder.ask("check").contains("was lost"));
    assert!(holder.ask("release").starts_with("Lost"));
    assert_eq!(next.ask("check"), "Ok(())");
    assert_eq!(next.ask("release"), "released");
    in_time
}

/// The network is away while a renewal is due, and is back before the deadline.
#[test]
fn a_cut_that_is_shorter_than_the_time_limit_takes_nothing() {
    let _dog = watchdog::watch(90);
    let Some(site) = site("short") else { return };
    let far = site.far.replace("ttl=6", "ttl=15");
    let mut holder = site.network.on(4, || Actor::start(&far));
    let mut other = site.actor(0);
    held(&holder.ask("lock"));
    assert_eq!(holder.ask("check"), "Ok(())");
    let before = at(&mut holder, "deadline");
    site.network.cut(4, Cut::Both);
    // The renewal is due after five seconds, and the deadline comes after 13.5.
    std::thread::sleep(Duration::from_millis(5500));
    assert_eq!(at(&mut holder, "deadline"), before, "it was renewed");
    site.network.cut(4, Cut::Nothing);
    eventually("it is renewed", || at(&mut holder, "deadline") > before);
    assert_eq!(holder.ask("lost"), "None");
    assert_eq!(holder.ask("valid"), "true");
    assert!(other.ask("try").starts_with("WouldBlock"));
    assert_eq!(holder.ask("release"), "released");
}

/// A waiter that is cut off does not keep those behind it for ever, and never takes the lock of
/// another.
#[test]
fn a_waiter_that_is_cut_off_is_passed_over() {
    let _dog = watchdog::watch(90);
    let Some(site) = site("waiter") else { return };
    let (mut holder, mut cut_off) = (site.actor(0), site.actor(5));
    let (mut next, mut looks) = (site.actor(0), site.actor(0));
    held(&holder.ask("lock"));
    cut_off.tell("lock");
    eventually("one waits", || looks.ask("waiters") == "1");
    next.tell("lock");
    eventually("two wait", || looks.ask("waiters") == "2");
    site.network.cut(5, Cut::Both);
    assert_eq!(holder.ask("release"), "released");
    held(&next.answer());
    site.network.cut(5, Cut::Nothing);
    // It queues again, or says that it was cut off.
    eventually("the lock is held by one", || looks.ask("holders") == "1");
    assert_eq!(next.ask("check"), "Ok(())");
    assert_eq!(next.ask("release"), "released");
    let said = cut_off.answer();
    assert!(
        said.starts_with("held") || said.starts_with("Unreachable"),
        "{said}"
    );
}

fn held(answer: &str) {
    assert!(answer.starts_with("held"), "{answer}");
}

/// A moment of the clock that all processes share.
fn at(actor: &mut Actor, order: &str) -> Duration {
    let nanos = actor.ask(order).parse().expect("a number");
    Duration::from_nanos(nanos)
}
