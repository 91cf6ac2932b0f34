//! The texts of -h and -V.

pub(crate) const HELP: &str = "
Usage:
 flock [options] <file>|<directory> <command> [<argument>...]
 flock [options] <file>|<directory> -c <command>
 flock [options] <file descriptor number>
 flock [options] --fd <file descriptor number> <command> [<argument>...]
 flock [options] --fd <file descriptor number> -c <command>

Manage file locks from shell scripts.

Options:
 -s, --shared             get a shared lock
 -x, --exclusive          get an exclusive lock (default)
 -u, --unlock             remove a lock
 -n, --nonblock           fail rather than wait
 -w, --timeout <secs>     wait for a limited amount of time
 -E, --conflict-exit-code <number>  exit code after conflict or timeout
 -o, --close              close file descriptor before running command
 -c, --command <command>  run a single command string through the shell
 -F, --no-fork            execute command without forking
     --fcntl              use fcntl(F_OFD_SETLK) rather than flock()
     --start <offset>     starting offset for lock (implies --fcntl)
     --length <number>    number of bytes to lock (implies --fcntl)
     --fd <number>        lock an inherited file descriptor and run a command
     --verbose            increase verbosity

 -h, --help               display this help
 -V, --version            display version

For more details see flock(1).
";

/// For scripts that look for a version of util-linux: the version whose behaviour this is.
pub(super) const VERSION: &str = concat!(
    "flock from util-linux 2.43 (as provided by holdlock ",
    env!("CARGO_PKG_VERSION"),
    ")\n"
);
