//! What holds for a whole process or thread: limits, users, processors, and its end.

/// The kernel's number of this thread.
pub fn thread_id() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// A resource of a process that can be limited.
pub type Resource = libc::__rlimit_resource_t;

/// Lowers a resource limit of this process.
pub fn limit(resource: Resource, value: u64) {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
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

/// Gives this thread a copy of the process's descriptor table, for itself. False: a filter of
/// system calls refuses it, as in some containers.
pub fn own_descriptor_table() -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::unshare(libc::CLONE_FILES) == 0 }
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
    // SAFETY: plain data for which all-zero is valid, of the size that is given; the numbers
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

/// Makes this thread one of real time, which runs before all ordinary threads of its processor.
/// False if this process has no right to do so.
pub fn become_real_time() -> bool {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: valid parameters, which the call reads.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) == 0 }
}
