//! System calls that tests make by hand.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdlock_test_support::eventually;
pub use holdlock_test_support::signal::{kill, kill_group};

/// Runs `child` in a child made by fork(2); returns its exit status.
///
/// The child runs nothing but `child` and leaves by _exit, as a panic would. The
/// parent forgets `child` and all that was moved into it.
pub fn fork(child: impl FnOnce() -> i32) -> Child {
    // SAFETY: the child runs `child` and _exits. Callers keep to what a child of a threaded
    // process may do, or are themselves a single thread.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => {
            let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the process.
            unsafe { libc::_exit(status.unwrap_or(101)) }
        }
        pid => {
            // The child drops these values; this process must not drop them, too.
            std::mem::forget(child);
            Child(pid)
        }
    }
}

/// As [`fork`], but by the bare system call: no atfork handlers run.
pub fn bare_fork(child: impl FnOnce() -> i32) -> Child {
    // SAFETY: as in `fork`; clone with SIGCHLD alone is fork.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        -1 => panic!("clone: {}", io::Error::last_os_error()),
        0 => {
            let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the process.
            unsafe { libc::_exit(status.unwrap_or(101)) }
        }
        pid => {
            std::mem::forget(child);
            Child(pid as i32)
        }
    }
}

/// A forked child.
pub struct Child(libc::pid_t);

impl Child {
    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0 as u32
    }

    /// Waits for its end.
    pub fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: a valid place for the status.
        let pid = unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(pid, self.0);
        if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            128 + libc::WTERMSIG(status)
        }
    }
}

/// Sends a signal to one thread of this process.
pub fn kill_thread(thread: i32, signal: i32) {
    // SAFETY: takes no pointers.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
}

/// The kernel's number of this thread.
pub fn thread_id() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// Blocks a signal in this thread.
pub fn block(signal: i32) {
    // SAFETY: a signal set, initialised before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// Blocks every real-time signal in this thread.
pub fn block_real_time_signals() {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).for_each(block);
}

/// Reads a signal by signalfd(2).
pub struct SignalReader(File);

impl SignalReader {
    /// Blocks the signal in this thread, and in threads that it starts later.
    pub fn new(signal: i32) -> SignalReader {
        use std::os::fd::FromRawFd;
        block(signal);
        // SAFETY: a signal set, initialised before use; a fresh descriptor.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, signal);
            let number = libc::signalfd(-1, &set, libc::SFD_CLOEXEC);
            assert!(number >= 0, "signalfd: {}", io::Error::last_os_error());
            SignalReader(File::from_raw_fd(number))
        }
    }

    /// Whether a signal arrives within a second.
    pub fn comes(&mut self) -> bool {
        use std::io::Read;
        let mut ready = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid entry.
        let count = unsafe { libc::poll(&mut ready, 1, 1000) };
        let mut message = [0; size_of::<libc::signalfd_siginfo>()];
        count == 1 && self.0.read_exact(&mut message).is_ok()
    }
}

/// Whether this thread blocks a signal.
pub fn is_blocked(signal: i32) -> bool {
    // SAFETY: reads the mask into a valid place.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set);
        libc::sigismember(&set, signal) == 1
    }
}

/// How often the handler of [`count_signals`] ran.
pub static SIGNALS: AtomicU32 = AtomicU32::new(0);

/// Installs a handler that counts, with the given flags (SA_RESTART or 0).
pub fn count_signals(signal: i32, flags: i32) {
    extern "C" fn count(_: libc::c_int) {
        SIGNALS.fetch_add(1, Ordering::SeqCst);
    }
    install(signal, flags, count);
}

/// Installs a signal handler.
pub fn install(signal: i32, flags: i32, handler: extern "C" fn(libc::c_int)) {
    install_with(signal, flags, false, handler);
}

/// The same; `alone` lets no other signal interrupt the handler.
pub fn install_with(signal: i32, flags: i32, alone: bool, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: a valid action; what the handler does is the caller's affair.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if alone {
            libc::sigfillset(&mut action.sa_mask);
        }
        action.sa_sigaction = handler as usize;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// A timer that sends a signal to the thread that made it.
#[derive(Clone, Copy)]
pub struct ThreadTimer(libc::timer_t);

// SAFETY: the kernel's number of a timer, which any thread may set.
unsafe impl Send for ThreadTimer {}
// SAFETY: the same.
unsafe impl Sync for ThreadTimer {}

impl ThreadTimer {
    /// Not set yet. Never deleted.
    pub fn new(signal: i32) -> ThreadTimer {
        // SAFETY: `sigevent` is plain data for which all-zero is valid; a valid place for the id.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = libc::gettid();
            let mut id: libc::timer_t = std::ptr::null_mut();
            let made = libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut id);
            assert_eq!(made, 0, "timer_create");
            ThreadTimer(id)
        }
    }

    /// Sends the signal once, this many nanoseconds from now; with 0 never. A signal handler may
    /// call this.
    pub fn set(self, nanoseconds: u32) {
        let time = |nanoseconds| libc::timespec {
            tv_sec: 0,
            tv_nsec: nanoseconds,
        };
        let setting = libc::itimerspec {
            it_value: time(libc::c_long::from(nanoseconds)),
            it_interval: time(0),
        };
        // SAFETY: a valid setting, and a timer that is never deleted.
        unsafe { libc::timer_settime(self.0, 0, &setting, std::ptr::null_mut()) };
    }
}

/// Lowers a resource limit of this process.
pub fn limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
}

/// The processor time of this thread.
pub fn thread_cpu() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The processor time of this process, with all its threads.
pub fn process_cpu() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(clock, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nanoseconds of the monotonic clock. A signal handler may call this.
pub fn monotonic() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sets or clears O_NONBLOCK; returns whether it was set.
pub fn set_nonblocking(fd: &impl AsRawFd, on: bool) -> bool {
    // SAFETY: fcntl with these commands takes no pointers.
    unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        let other = flags & !libc::O_NONBLOCK;
        let wanted = if on { other | libc::O_NONBLOCK } else { other };
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted);
        flags & libc::O_NONBLOCK != 0
    }
}

/// Calls `inside` while SIGPIPE ends the process, which Rust's runtime otherwise prevents.
pub fn with_default_sigpipe<T>(inside: impl FnOnce() -> T) -> T {
    // SAFETY: two dispositions without code of ours.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let result = inside();
    // SAFETY: the disposition that there was.
    unsafe { libc::signal(libc::SIGPIPE, before) };
    result
}

/// Sets the umask, returns the old one.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: takes no pointers.
    unsafe { libc::umask(mask) }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    // SAFETY: takes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Takes a write lease on a file. False if the kernel does not grant it.
pub fn lease(file: &File) -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0 }
}

/// Gives a lease back.
pub fn unlease(file: &File) {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
}

/// flock(2) by hand.
pub fn flock(file: &File, operation: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    match unsafe { libc::flock(file.as_raw_fd(), operation) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// fcntl(2) by hand: F_SETLKW, F_OFD_SETLKW and their like, with F_WRLCK, F_RDLCK or
/// F_UNLCK, on the bytes (start, length). A length of 0 means up to the end.
pub fn fcntl_lock(file: &File, command: i32, kind: i32, bytes: (u64, u64)) -> io::Result<()> {
    // SAFETY: `flock` is plain data for which all-zero is valid.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = kind as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request.l_start = bytes.0 as libc::off_t;
    request.l_len = bytes.1 as libc::off_t;
    // SAFETY: these commands take a `struct flock`, alive in the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor from `first` on, whatever code owns it, as programs do that close
/// inherited descriptors.
pub fn close_all_from(first: i32) {
    // SAFETY: takes no pointers. The callers show what becomes of the owners.
    unsafe { libc::close_range(first as u32, u32::MAX, 0) };
}

/// Closes one descriptor, whatever code owns it.
pub fn close(number: i32) {
    // SAFETY: takes no pointers. The callers show what becomes of the owner.
    unsafe { libc::close(number) };
}

/// Puts a copy of `file` on a descriptor's number, whatever code owned that.
pub fn cover(number: i32, file: &File) {
    // SAFETY: takes no pointers. The callers show what becomes of the owner.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), number) }, number);
}

/// How many of the first hundred descriptors are files below `directory` on which a lock is held
/// now or within some milliseconds. Allocates nothing, so a forked child of a process with threads
/// may call it.
pub fn locked_descriptors_below(directory: &std::path::Path) -> usize {
    use std::os::unix::ffi::OsStrExt;
    let directory = directory.as_os_str().as_bytes();
    let is_below = |number: &i32| {
        let mut link = [0; 512];
        let door = door(*b"/proc/self/fd/00\0\0\0\0\0", *number);
        // SAFETY: a NUL-terminated string, and a buffer of the length that is told.
        let length =
            unsafe { libc::readlink(door.as_ptr().cast(), link.as_mut_ptr().cast(), link.len()) };
        let link = usize::try_from(length).map_or(&[][..], |length| &link[..length]);
        let below = link.strip_prefix(directory);
        below.is_some_and(|name| name.starts_with(b"/"))
    };
    let is_locked = |number: &i32| {
        let door = door(*b"/proc/self/fdinfo/00\0", *number);
        (0..50).any(|_| {
            sleep(Duration::from_micros(100));
            let mut text = [0; 1024];
            // SAFETY: a NUL-terminated string, a buffer of the length that is told, and our own
            // descriptor.
            let length = unsafe {
                let info = libc::open(door.as_ptr().cast(), libc::O_RDONLY);
                let length = libc::read(info, text.as_mut_ptr().cast(), text.len());
                libc::close(info);
                length
            };
            let text = usize::try_from(length).map_or(&[][..], |length| &text[..length]);
            text.windows(5).any(|part| part == b"lock:")
        })
    };
    (3..100).filter(is_below).filter(is_locked).count()
}

/// The path with `number` for its two zeros.
fn door(mut path: [u8; 21], number: i32) -> [u8; 21] {
    let at = path.iter().position(|byte| *byte == b'0').unwrap_or(0);
    if number < 10 {
        path[at] += number as u8;
        path[at + 1] = 0;
    } else {
        path[at] += (number / 10) as u8;
        path[at + 1] += (number % 10) as u8;
    }
    path
}

/// A mutex that handlers of pthread_atfork take before each fork and release after it.
static AT_FORK: MutexAtFork =
    MutexAtFork(std::cell::UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

struct MutexAtFork(std::cell::UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: only the functions of pthread touch what is inside.
unsafe impl Sync for MutexAtFork {}

extern "C" fn lock_at_fork() {
    // SAFETY: initialised statically.
    unsafe { libc::pthread_mutex_lock(AT_FORK.0.get()) };
}

extern "C" fn unlock_at_fork() {
    // SAFETY: the thread that forked has it.
    unsafe { libc::pthread_mutex_unlock(AT_FORK.0.get()) };
}

/// Makes each later fork of this process take a mutex first.
pub fn take_a_mutex_at_fork() {
    // SAFETY: the handlers stay for the life of the process.
    unsafe {
        libc::pthread_atfork(
            Some(lock_at_fork),
            Some(unlock_at_fork),
            Some(unlock_at_fork),
        )
    };
}

/// Calls `inside` while no fork can begin: with the mutex of [`take_a_mutex_at_fork`].
pub fn while_forks_wait<T>(inside: impl FnOnce() -> T) -> T {
    lock_at_fork();
    let result = inside();
    unlock_at_fork();
    result
}

/// Lets the kernel kill this process when its parent ends.
pub fn die_with_parent() {
    // SAFETY: takes no pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Sleeps until a signal ends the process.
pub fn sleep_until_killed() -> i32 {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// Ends this thread alone, even if it is the first thread of the process.
pub fn end_thread() -> ! {
    // SAFETY: takes no pointers. What the thread has on its stack stays as it is: nobody else
    // refers to it.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("the thread has ended")
}

/// Calls `inside` while this thread, and the processes and threads that it starts meanwhile, run on
/// the last of its processors only.
pub fn on_the_last_cpu<T>(inside: impl FnOnce() -> T) -> T {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: plain data for which all-zero is valid, of the size that is told; the numbers
    // asked for are below what it has room for.
    unsafe {
        let mut before: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size, &mut before);
        let count = libc::CPU_SETSIZE as usize;
        let last = (0..count).rev().find(|cpu| libc::CPU_ISSET(*cpu, &before));
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(last.unwrap_or(0), &mut one);
        libc::sched_setaffinity(0, size, &one);
        let result = inside();
        libc::sched_setaffinity(0, size, &before);
        result
    }
}

/// Waits until a process with one thread sleeps in the queue of a lock, in one of these system
/// calls. While another process reads /proc/locks, it sleeps before it gets that far.
pub fn wait_until_queued(pid: u32, calls: &[libc::c_long]) {
    let place = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let is_one = |call: &str| calls.iter().any(|one| call.starts_with(&format!("{one} ")));
    eventually(
        &format!("pid {pid} sleeps in system call {calls:?}"),
        || {
            let function = place("wchan");
            function != "0" && !function.contains("percpu") && is_one(&place("syscall"))
        },
    );
}

/// nanosleep(2) once. False if a signal interrupted it.
pub fn sleep(time: Duration) -> bool {
    let time = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(time.subsec_nanos()),
    };
    // SAFETY: a valid time.
    unsafe { libc::nanosleep(&time, std::ptr::null_mut()) == 0 }
}

/// Sends SIGALRM once after this time, as alarm(2) does.
pub fn alarm(after: Duration) {
    let time = |duration: Duration| libc::timeval {
        tv_sec: duration.as_secs() as libc::time_t,
        tv_usec: duration.subsec_micros().into(),
    };
    let timer = libc::itimerval {
        it_interval: time(Duration::ZERO),
        it_value: time(after),
    };
    // SAFETY: a valid setting, and nobody wants the old one.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}
