//! What the tests of each engine do with a network that is cut.

use std::time::Duration;

use holdlock_test_support::eventually;
use holdlock_test_support::network::{Cut, Network};

use super::actor::Actor;

/// A network with a server on host 0.
pub(crate) struct Site<'a> {
    pub(crate) network: &'a Network,
    /// A lock there, as its own host reaches it.
    pub(crate) near: String,
    /// The same, as the other hosts reach it.
    pub(crate) far: String,
}

impl Site<'_> {
    fn actor(&self, host: usize) -> Actor {
        let url = if host == 0 { &self.near } else { &self.far };
        self.network.on(host, || Actor::start(url))
    }
}

/// The network of a holder on this host is cut. The holder knows so at its deadline, and the next
/// holder comes after that.
pub(crate) fn a_holder_that_is_cut_off_stops_before_the_next_one_begins(
    site: &Site<'_>,
    host: usize,
    cut: Cut,
) {
    let (mut holder, mut next, mut looks) = (site.actor(host), site.actor(0), site.actor(0));
    held(&holder.ask("lock"));
    next.tell("lock");
    eventually("one waits", || looks.ask("waiters") == "1");
    assert_eq!(holder.ask("check"), "Ok(())");
    site.network.cut(host, cut);
    let lost = holder.ask("await-loss");
    assert!(lost.starts_with("unsure"), "{cut:?}: {lost}");
    held(&next.answer());
    let (lost, deadline) = (at(&mut holder, "lost-at"), at(&mut holder, "deadline"));
    let began = at(&mut next, "held-at");
    assert!(lost < began, "{cut:?}: lost at {lost:?}, but {began:?}");
    let margin = began.saturating_sub(deadline);
    assert!(margin > Duration::from_millis(300), "{cut:?}: {margin:?}");
    // The holder is not valid, and learns that it has lost the lock when it gets through again.
    assert_eq!(holder.ask("valid"), "false");
    site.network.cut(host, Cut::Nothing);
    eventually("it learns it", || holder.ask("check").contains("was lost"));
    assert!(holder.ask("release").starts_with("Lost"));
    assert_eq!(next.ask("check"), "Ok(())");
    assert_eq!(next.ask("release"), "released");
}

/// The network is away while a renewal is due, and is back before the deadline.
pub(crate) fn a_cut_that_is_shorter_than_the_time_limit_takes_nothing(
    site: &Site<'_>,
    host: usize,
) {
    let far = site.far.replace("ttl=3", "ttl=9");
    let mut holder = site.network.on(host, || Actor::start(&far));
    let mut other = site.actor(0);
    held(&holder.ask("lock"));
    assert_eq!(holder.ask("check"), "Ok(())");
    let before = at(&mut holder, "deadline");
    site.network.cut(host, Cut::Both);
    // The renewal is due after three seconds.
    std::thread::sleep(Duration::from_millis(3500));
    assert_eq!(at(&mut holder, "deadline"), before, "it was renewed");
    site.network.cut(host, Cut::Nothing);
    eventually("it is renewed", || at(&mut holder, "deadline") > before);
    assert_eq!(holder.ask("lost"), "None");
    assert_eq!(holder.ask("valid"), "true");
    assert!(other.ask("try").starts_with("WouldBlock"));
    assert_eq!(holder.ask("release"), "released");
}

/// A waiter that is cut off does not keep those behind it for ever, and never takes the lock of
/// another.
pub(crate) fn a_waiter_that_is_cut_off_is_passed_over(site: &Site<'_>, host: usize) {
    let (mut holder, mut cut_off) = (site.actor(0), site.actor(host));
    let (mut next, mut looks) = (site.actor(0), site.actor(0));
    held(&holder.ask("lock"));
    cut_off.tell("lock");
    eventually("one waits", || looks.ask("waiters") == "1");
    next.tell("lock");
    eventually("two wait", || looks.ask("waiters") == "2");
    site.network.cut(host, Cut::Both);
    assert_eq!(holder.ask("release"), "released");
    held(&next.answer());
    site.network.cut(host, Cut::Nothing);
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
