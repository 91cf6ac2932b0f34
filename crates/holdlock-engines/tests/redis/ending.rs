//! Requests that end leave nothing behind, and end in time.

use std::io::Read;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use holdlock::Request;
use holdlock_engines::{Error, open};
use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;
use rustix::process::Signal;

use crate::fake::{self, Reply};
use crate::support::actor::Actor;
use crate::support::order::wait_for_waiters;
use crate::{name, server};

/// Less than a message waits for its answer, which is five seconds.
const LATE: Duration = Duration::from_secs(3);

#[test]
fn a_program_that_ends_right_after_its_request_leaves_nothing_behind() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    // So long that a place which is left behind is seen.
    let url = server.url(&name("ends"));
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    let leaves_nothing = |_| {
        let mut actor = Actor::start(&url);
        let pid = Some(actor.pid());
        // It is there, and connected.
        actor.ask("waiters");
        let began = Instant::now();
        assert!(actor.ask("last").starts_with("TimedOut"));
        actor.wait();
        // A process waits no longer than a second for a slow server.
        let in_time = began.elapsed() < Duration::from_millis(900);
        let waiters = lock.members().expect("answers").waiters;
        let is_left = waiters.iter().any(|waiter| waiter.pid == pid);
        assert!(!in_time || !is_left);
        in_time
    };
    assert!((0..10).filter(|round| leaves_nothing(*round)).count() > 0);
    guard.release().expect("ours");
}

#[test]
fn a_wait_ends_in_time_although_the_server_has_become_silent() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("mute");
    let proxy = Proxy::start(server.port());
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    let lock = open(&server.url_at(proxy.port(), &name)).expect("a lock");
    let mut limit = Duration::from_secs(2);
    let (took, error) = loop {
        let (ours, (tell, told)) = (lock.clone(), channel());
        let began = Instant::now();
        let waiter = std::thread::spawn(move || {
            let request = Request::exclusive().timeout(limit);
            let request = request.on_wait(|_| {
                let _ = tell.send(());
                ControlFlow::Continue(())
            });
            let error = ours.acquire(request).expect_err("held");
            (began.elapsed(), error)
        });
        let waits = told.recv().is_ok();
        proxy.fault(Fault::Silence);
        let ended = waiter.join().expect("no panic");
        // A slow machine needs more time until it waits, or is late once.
        let in_time = ended.0 < limit + LATE || limit > Duration::from_secs(10);
        if waits && in_time || limit > Duration::from_secs(60) {
            break ended;
        }
        proxy.fault(Fault::None);
        limit *= 3;
    };
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    assert!(took < limit + LATE, "{took:?}");
    guard.release().expect("ours");
}

#[test]
fn a_question_ends_when_nobody_waits_for_its_answer() {
    let _dog = watchdog::watch(50);
    // A server that says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let url = format!("redis://127.0.0.1:{port}/0?connect_timeout=600#n");
    let question = open(&url).expect("a lock").members_async();
    let (mut client, _) = listener.accept().expect("it connects");
    let mut told = [0; 100];
    assert!(client.read(&mut told).expect("a greeting") > 0);
    drop(question);
    // The end of the connection.
    std::io::copy(&mut client, &mut std::io::sink()).expect("read");
}

/// The network may deliver the request later, when it would acquire the lock for nobody.
#[test]
fn a_connection_that_is_given_up_delivers_nothing_later() {
    let _dog = watchdog::watch(60);
    let (tell, told) = channel();
    let address = fake::start(move |call| match call.what() {
        "step" => Reply::Nothing,
        end if end.starts_with("end: ") && call.connection == 0 => {
            let _ = tell.send(end.to_owned());
            Reply::Usual
        }
        _ => Reply::Usual,
    });
    let lock = open(&format!("redis://{address}#n")).expect("a lock");
    let error = lock.try_lock().expect_err("no answer");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let end = told.recv().expect("it ends");
    assert!(end.contains("ConnectionReset"), "{end}");
}

/// The server reads the last step of a waiter when the waiter has given up long ago.
#[test]
fn a_request_that_the_server_reads_late_keeps_the_lock_from_nobody() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(server::Server::awake) else {
        return;
    };
    let name = name("late");
    let lock = open(&server.with("ttl=60", &name)).expect("a lock");
    let mut holder = Actor::start(&server.brief(&name));
    assert!(holder.ask("lock").starts_with("held"));
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.try_lock_for(Duration::from_secs(9)));
    wait_for_waiters(&lock, 1);
    server.signal(Signal::STOP);
    holder.kill();
    // Its step is given up after five seconds, and the next one does not come through.
    waiter.join().expect("no panic").expect_err("no answer");
    std::thread::sleep(Duration::from_secs(3));
    server.signal(Signal::CONT);
    let guard = lock.try_lock_for(Duration::from_secs(30));
    guard.expect("free").release().expect("ours");
}
