//! Questions about processes.

use std::ffi::CStr;

/// Whether a process with this number exists, even if /proc does not show it.
pub(crate) fn exists(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return false;
    };
    // SAFETY: signal 0 only checks and sends nothing; no pointers.
    let sent = unsafe { libc::kill(pid, 0) };
    sent == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Whether two threads are known to have different descriptor tables: kcmp(2), which the kernel may
/// lack or refuse.
pub(crate) fn have_different_descriptors(one: u32, other: u32) -> bool {
    const KCMP_FILES: libc::c_int = 2;
    // SAFETY: takes no pointers, and changes nothing.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0_u64, 0_u64) };
    order > 0
}

/// The number of this process's effective user.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// How large the files that this process writes may become (RLIMIT_FSIZE).
pub(crate) fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: valid memory for the answer, which stays as it is if the call fails.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    limit.rlim_cur
}

/// Whether this process has root's user number.
pub(crate) fn is_root() -> bool {
    effective_user() == 0
}

/// The name of this host; None if it is no text.
pub(crate) fn host_name() -> Option<String> {
    let mut name = [0_u8; 256];
    // The last byte stays 0, so that there is an end in any case.
    // SAFETY: the kernel writes at most this many bytes to memory that is ours.
    let got = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    (got == 0).then(|| name.to_str().ok().map(str::to_owned))?
}

/// Whether this process has a timer of alarm(2) or setitimer(2) that will send SIGALRM.
pub(crate) fn has_alarm() -> bool {
    let none = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let mut timer = libc::itimerval {
        it_interval: none,
        it_value: none,
    };
    // SAFETY: valid memory for the answer.
    let got = unsafe { libc::getitimer(libc::ITIMER_REAL, &mut timer) };
    got == 0 && (timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0)
}
