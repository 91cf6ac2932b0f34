//! The texts of `holdlock run --help` and `-h`.

use crate::cli::Brief;

pub(super) const USAGE: &str = "holdlock run [OPTIONS] LOCK [--] COMMAND [ARG]...
       holdlock run [OPTIONS] --lock LOCK [--lock LOCK]... [--] COMMAND [ARG]...";

pub(super) const TEMPLATE: &str = "\
{about}

{usage-heading} {usage}

Arguments:
  LOCK     A name such as `backup`, for a file in your lock directory (`holdlock
           path backup` prints its path); a path, which is anything with a slash;
           or the URL of a lock between hosts. A missing file is created, and never
           removed. Only an empty file gets a record (see below); other content is
           never written
  COMMAND  The command and its arguments. Options of holdlock go before LOCK

Options:
{options}{after-help}";

pub(super) const BRIEF: Brief = Brief {
    common: &[
        "shared", "no-wait", "timeout", "skip", "lock", "max-hold", "tree", "quiet", "log",
    ],
    after: "\
DURATION is in seconds (5, 0.5) or has units: 500ms, 90s, 2m, 1h30m, 1d.

Exit codes: that of COMMAND; 75 the lock is held (-n), still held (-w), or its file was
removed while it is held; 64 to 73, 77 and 78 no lock, nothing was run; 124 --max-hold; 126 and 127 COMMAND cannot be run.

Examples:
  holdlock run backup -- rsync -a /srv /mnt   wait for our turn, then run
  holdlock run --skip nightly -- ./job.sh     cron: not while it is still running
  holdlock run -w 30s ./x.lock -- make        wait for half a minute at most

`holdlock run --help` has all options and the details.",
};

pub(super) const AFTER: &str = "\
DURATION is in seconds (5, 0.5) or has units: 500ms, 90s, 2m, 1h30m, 1d.

If COMMAND ends by itself, holdlock releases the lock. Processes that COMMAND leaves in
the background do not keep the lock, except with --tree or --exec. If a signal ends
COMMAND or holdlock, the rest of the job may be in the middle of its work: its processes
have inherited the lock and keep it until they end. holdlock names these processes, and
stays for processes of the job that have not inherited the lock (see --close).

Signals: if a process sends INT, TERM, HUP, QUIT, USR1, USR2, CONT, TSTP or WINCH to
holdlock, COMMAND gets the signal, too. Signals of the terminal (Ctrl-C, Ctrl-Z) reach
COMMAND directly. With --tree a second TERM ends everything that COMMAND has started.
If KILL ends holdlock, COMMAND gets TERM. The processes that COMMAND has started do not
get it, nor does a COMMAND that runs with other rights than its caller (set-uid).

--max-hold sends TERM to COMMAND and to everything that it has started, including
background processes and daemons. After --kill-after it sends KILL until no process is
left. The limit also applies to a stopped job (Ctrl-Z).

The record: a lock file that holdlock created or found empty says who has or had the
lock, since when, and how the last run ended (`cat` shows it). COMMAND gets
HOLDLOCK_TOKEN, a number that is higher in each later run, but only under one exclusive
lock whose file has a record: not with -s, --slots or several --lock, nor if this user
cannot write to the file. It gets HOLDLOCK_ABANDONED=1 if the last holder died, or if a
signal or --max-hold ended the command of the last holder. In this case holdlock warns,
or does what --if-abandoned says. The options --note, --if-abandoned and --at-most-every
refuse a file that cannot have a record. A note is cut after 200 bytes.

--at-most-every 1h skips the run, with exit code 0, if the last run that succeeded began
less than an hour ago. A clock that was set back does not block the run.

With several --lock, holdlock acquires all locks or no lock. While it waits for one of
them it holds no other, so that no deadlock arises. -w limits the wait for all locks.

If COMMAND starts `holdlock run` for the same lock and waits for it, the inner run would
wait for ever: it ends with 65. An inner run in the background waits until COMMAND has
ended. To run a job after COMMAND, detach it (setsid -f). With --reentrant the inner run starts at once, if it has inherited the
exclusive lock from an outer holdlock that waits for it; the lock is released when the
outer COMMAND ends.

Between hosts: if LOCK is a URL such as
postgres://host/database#name, that server keeps the lock. While HOLDLOCK_ENGINE has the
URL of a server, postgres://host/database, a name is a lock of that server; a path never
is. COMMAND gets HOLDLOCK_TOKEN, HOLDLOCK_LOCK (the URL without user and password),
HOLDLOCK_ENGINE_KIND, and HOLDLOCK_TTL: for how many seconds the server keeps the lock
of a silent host. If the server does not answer, COMMAND and all that it has started get
TERM, and KILL before another process can have the lock. If the lock is lost already,
since its session was ended, they get TERM and then KILL, but another process may begin
at once. `--on-lost kill` leaves out TERM, and with `--on-lost warn` they continue without
the lock. Processes that COMMAND leaves do not keep the lock. If KILL ends holdlock,
COMMAND gets KILL. With PostgreSQL, --at-most-every and --if-abandoned need `holdlock
engine init`. docs/engines.md of the project has the options
of the URL.

Progress: a terminal shows one line after half a second, with the holder and the place
in the queue. A file or pipe gets lines after 5 seconds, 1 minute, 2, 4, 8 minutes and
so on, and a last line when the lock is acquired; with --progress always the first line
comes after half a second. With --progress never or -q there is no line.

Exit codes:
  the exit code of COMMAND, or 128+n if signal n ended it (if INT or QUIT ended it,
  holdlock dies of the same signal, so that Ctrl-C ends a script); else
   64  wrong usage
   65  waiting would be a deadlock: the process that started this command holds the
       lock, or holdlock commands wait for each other's locks in a cycle
   66  the lock file cannot be opened, or cannot have the record that an option needs
   69  the server that keeps the lock does not answer
   71  the operating system refused something
   73  the lock file or the log cannot be created
   74  a lock between hosts was lost while COMMAND ran, or before it started
   75  another process holds the lock (-n), or still holds it (-w); also without -n and
       -w, if the lock file was removed while the lock is held, or the holders use
       another number of --slots; see -E, --skip
   76  the last holder died (--if-abandoned)
   77  the server refuses the login
   78  the server is no safe place for a lock, or lacks what an option needs
  124  COMMAND held the lock longer than --max-hold and was ended
  126  COMMAND cannot be executed
  127  COMMAND is not found

Examples:
  holdlock run backup -- rsync -a /srv /mnt   wait for our turn, then run
  holdlock run --skip nightly -- ./job.sh     cron: not while it is still running
  holdlock run -n nightly -- ./job.sh         give up at once while it is running
  holdlock run -w 30s -E 0 ./x.lock -- make   wait half a minute; giving up is fine
  holdlock run -s data -- ./report            together with other readers
  holdlock run --at-most-every 1h poll -- ./poll   once an hour at most
  holdlock run --max-hold 1h sync -- ./sync   end a job that hangs
  holdlock run --lock a --lock b -- ./move    both, or none
  holdlock run --slots 4 gpu -- ./train       four at a time; HOLDLOCK_SLOT is 0 to 3
  holdlock run --system disk -- ./check       a name that all users share
  holdlock run postgres://db/app#nightly -- ./job.sh   one of all hosts at a time";
