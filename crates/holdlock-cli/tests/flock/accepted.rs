//! The intended differences between this flock and the installed one of util-linux 2.38.
//!
//! `docs/flock.md` has the same list.

/// One accepted difference.
pub(crate) struct Row {
    pub(crate) script: &'static str,
    pub(crate) why: &'static str,
    /// Exit status, standard output, standard error of ours.
    pub(crate) expected: (i32, &'static str, &'static str),
    /// The other one never ends, so that there is nothing to compare with.
    pub(crate) theirs_hangs: bool,
}

const WORDING: &str = "util-linux 2.43 says `invalid timeout`";
const NEW_OPTIONS: &str = "2.38 does not know --fcntl, --start, --length, --fd";
const OWN_NAME: &str = "the version is this program's";
const SIGALRM: &str = "fixed: -w works where SIGALRM is blocked";
const SIGALRM_KEPT: &str = "fixed: the command finds SIGALRM as the caller left it";
const FIFO: &str = "fixed: a FIFO as lock file does not hang";
const ORDER: &str = "fixed: what --verbose says stands before the command's output";
const PRINTABLE: &str = "fixed: names in messages do not command the terminal";
const NO_FORK: &str = "fixed: what --verbose says is not lost with -F";

const fn row(
    script: &'static str,
    why: &'static str,
    expected: (i32, &'static str, &'static str),
) -> Row {
    Row {
        script,
        why,
        expected,
        theirs_hangs: false,
    }
}

const fn hanging(
    script: &'static str,
    why: &'static str,
    expected: (i32, &'static str, &'static str),
) -> Row {
    Row {
        script,
        why,
        expected,
        theirs_hangs: true,
    }
}

pub(crate) const ROWS: &[Row] = &[
    row(
        "flock -w abc file true",
        WORDING,
        (64, "", "flock: invalid timeout: 'abc'\n"),
    ),
    row(
        "flock -w '' file true",
        WORDING,
        (64, "", "flock: invalid timeout: ''\n"),
    ),
    row(
        "flock -w 1x file true",
        WORDING,
        (64, "", "flock: invalid timeout: '1x'\n"),
    ),
    row(
        "flock -w 1e file true",
        WORDING,
        (64, "", "flock: invalid timeout: '1e'\n"),
    ),
    row(
        "flock -w '1 ' file true",
        WORDING,
        (64, "", "flock: invalid timeout: '1 '\n"),
    ),
    row(
        "flock -w 1,5 file true",
        WORDING,
        (64, "", "flock: invalid timeout: '1,5'\n"),
    ),
    row(
        "flock -w 0x file true",
        WORDING,
        (64, "", "flock: invalid timeout: '0x'\n"),
    ),
    row(
        "flock -w . file true",
        WORDING,
        (64, "", "flock: invalid timeout: '.'\n"),
    ),
    row(
        "flock --timeout= file true",
        WORDING,
        (64, "", "flock: invalid timeout: ''\n"),
    ),
    row(
        "flock -w 1e5000 file true",
        WORDING,
        (
            64,
            "",
            "flock: invalid timeout: '1e5000': Numerical result out of range\n",
        ),
    ),
    row(
        "flock -w 1e-5000 file true",
        WORDING,
        (
            64,
            "",
            "flock: invalid timeout: '1e-5000': Numerical result out of range\n",
        ),
    ),
    row(
        "flock --s file true",
        NEW_OPTIONS,
        (
            64,
            "",
            "flock: option '--s' is ambiguous; possibilities: '--shared' '--start'\n\
             Try 'flock --help' for more information.\n",
        ),
    ),
    row(
        "flock --f file true",
        NEW_OPTIONS,
        (
            64,
            "",
            "flock: option '--f' is ambiguous; possibilities: '--fcntl' '--fd'\n\
             Try 'flock --help' for more information.\n",
        ),
    ),
    row(
        "flock --=3 file true",
        NEW_OPTIONS,
        (
            64,
            "",
            "flock: option '--=3' is ambiguous; possibilities: '--shared' '--exclusive' \
             '--unlock' '--nonblocking' '--nb' '--timeout' '--wait' '--conflict-exit-code' \
             '--close' '--no-fork' '--verbose' '--fcntl' '--start' '--length' '--fd' '--help' \
             '--version'\nTry 'flock --help' for more information.\n",
        ),
    ),
    row("flock --fcntl file echo ran", NEW_OPTIONS, (0, "ran\n", "")),
    row("flock --fc file echo ran", NEW_OPTIONS, (0, "ran\n", "")),
    row(
        "flock --start 1 --length 2 file echo ran",
        NEW_OPTIONS,
        (0, "ran\n", ""),
    ),
    row(
        "exec 9>file; flock --fd 9 echo ran",
        NEW_OPTIONS,
        (0, "ran\n", ""),
    ),
    row(
        "flock --help | grep -c -e --fd -e --fcntl -e --start -e --length",
        NEW_OPTIONS,
        (0, "6\n", ""),
    ),
    row(
        "flock --version",
        OWN_NAME,
        (
            0,
            concat!(
                "flock from util-linux 2.43 (as provided by holdlock ",
                env!("CARGO_PKG_VERSION"),
                ")\n"
            ),
            "",
        ),
    ),
    row(
        "env --ignore-signal=ALRM flock -w 5 file grep -cE 'SigIgn:.*[2367abef]...$' /proc/self/status",
        SIGALRM_KEPT,
        (0, "1\n", ""),
    ),
    hanging(
        "exec 8<file; flock 8; env --block-signal=ALRM flock -w 0.05 file echo ran",
        SIGALRM,
        (1, "", ""),
    ),
    hanging(
        "exec 8<file; flock 8; env --block-signal=ALRM flock -w 0.05 --verbose file echo ran",
        SIGALRM,
        (1, "", "flock: timeout while waiting to get lock\n"),
    ),
    hanging(
        "exec 8<file; flock 8; env --block-signal flock -w 0.05 file echo ran",
        SIGALRM,
        (1, "", ""),
    ),
    hanging(
        "exec 8<>file; flock --fcntl 8; env --block-signal flock --fcntl -w 0.05 file echo ran",
        SIGALRM,
        (1, "", ""),
    ),
    hanging("flock fifo echo ran", FIFO, (0, "ran\n", "")),
    hanging("flock --fcntl fifo echo ran", FIFO, (0, "ran\n", "")),
    hanging("flock -n fifo echo ran", FIFO, (0, "ran\n", "")),
    hanging("flock -w 0.05 fifo flock -n fifo true", FIFO, (1, "", "")),
    hanging(
        "flock fifo flock -w 0.05 --verbose fifo true",
        FIFO,
        (1, "", "flock: timeout while waiting to get lock\n"),
    ),
    hanging(
        "flock fifo grep flags /proc/self/fdinfo/3",
        FIFO,
        (0, "flags:\t0100000\n", ""),
    ),
    row(
        "flock --verbose file echo ran",
        ORDER,
        (
            0,
            "flock: getting lock took TIME\nflock: executing echo\nran\n",
            "",
        ),
    ),
    row(
        "flock --verbose file -c 'echo ran'",
        ORDER,
        (
            0,
            "flock: getting lock took TIME\nflock: executing /bin/sh\nran\n",
            "",
        ),
    ),
    row(
        "flock \"missing/$(printf '\\377\\376')\" echo ran",
        PRINTABLE,
        (
            66,
            "",
            "flock: cannot open lock file missing/\\xff\\xfe: No such file or directory\n",
        ),
    ),
    row(
        "flock file \"$(printf '\\033[2J')\"",
        PRINTABLE,
        (
            69,
            "",
            "flock: failed to execute \\u{1b}[2J: No such file or directory\n",
        ),
    ),
    row(
        "flock --verbose -F file echo ran",
        NO_FORK,
        (
            0,
            "flock: getting lock took TIME\nflock: executing echo\nran\n",
            "",
        ),
    ),
];
