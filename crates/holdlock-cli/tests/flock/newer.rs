//! Features of util-linux after 2.38: OFD locks, byte ranges, a command with a descriptor.

type Row = (&'static str, (i32, &'static str, &'static str));

pub(crate) const ROWS: &[Row] = &[
    // OFD locks, which flock(2) does not see.
    (
        "exec 8<>file; flock --fcntl 8; flock --fcntl -n file echo ran",
        (1, "", ""),
    ),
    (
        "exec 8<>file; flock --fcntl 8; flock -n file echo ran",
        (0, "ran\n", ""),
    ),
    (
        "exec 8<>file; flock 8; flock --fcntl -n file echo ran",
        (0, "ran\n", ""),
    ),
    (
        "exec 8<>file; flock --fcntl -s 8; flock --fcntl -s -n file echo ran",
        (0, "ran\n", ""),
    ),
    (
        "exec 8<>file; flock --fcntl 8; flock --fcntl -u 8; flock --fcntl -n file echo ran",
        (0, "ran\n", ""),
    ),
    (
        "exec 8<>file; flock --fcntl 8; flock --fcntl -n --verbose -E 9 file echo ran",
        (9, "", "flock: failed to get lock\n"),
    ),
    (
        "exec 8<>file; flock --fcntl 8; flock --fcntl -w 0.05 --verbose file echo ran",
        (1, "", "flock: timeout while waiting to get lock\n"),
    ),
    (
        "exec 8<>file; flock --fcntl 8; (flock --fcntl file echo waited) & flock --fcntl -u 8; wait $!",
        (0, "waited\n", ""),
    ),
    (
        "exec 8<file; flock --fcntl 8",
        (65, "", "flock: 8: Bad file descriptor\n"),
    ),
    (
        "flock --fcntl dir echo ran",
        (65, "", "flock: dir: Is a directory\n"),
    ),
    (
        "chmod 555 dir; as_nobody flock --fcntl dir echo ran",
        (65, "", "flock: dir: Permission denied\n"),
    ),
    ("flock --fcntl -s dir echo ran", (0, "ran\n", "")),
    ("flock --fcntl new echo ran; ls new", (0, "ran\nnew\n", "")),
    (
        "as_nobody flock --fcntl readonly echo ran",
        (
            66,
            "",
            "flock: cannot open lock file readonly: Permission denied\n",
        ),
    ),
    (
        "as_nobody flock --fcntl -s readonly echo ran",
        (0, "ran\n", ""),
    ),
    // Ranges.
    (
        "exec 8<>file; flock --length 10 8; flock -n --start 10 --length 5 file echo ran",
        (0, "ran\n", ""),
    ),
    (
        "exec 8<>file; flock --length 10 8; flock -n --start 9 --length 1 file echo ran",
        (1, "", ""),
    ),
    (
        "exec 8<>file; flock --length 0x10 8; flock -n --start 15 --length 1 file echo ran",
        (1, "", ""),
    ),
    (
        "exec 8<>file; flock --length 010 8; flock -n --start 8 --length 1 file echo ran",
        (0, "ran\n", ""),
    ),
    (
        "exec 8<>file; flock --length 1KiB 8; flock -n --start 1023 file echo ran",
        (1, "", ""),
    ),
    (
        "exec 8<>file; flock --length 1K 8; flock -n --start 1024 file echo ran",
        (0, "ran\n", ""),
    ),
    (
        "exec 8<>file; flock --length 1KB 8; flock -n --start 1000 file echo ran",
        (0, "ran\n", ""),
    ),
    (
        "exec 8<>file; flock --start 1G 8; flock -n --length 1G file echo ran",
        (0, "ran\n", ""),
    ),
    (
        "exec 8<>file; flock --start=5 8; flock -n --fcntl file echo ran",
        (1, "", ""),
    ),
    (
        "flock --start -1 file echo ran",
        (64, "", "flock: invalid as start offset: '-1'\n"),
    ),
    (
        "flock --start x file echo ran",
        (64, "", "flock: invalid as start offset: 'x'\n"),
    ),
    (
        "flock --length -1 file echo ran",
        (64, "", "flock: invalid as length of lock range: '-1'\n"),
    ),
    (
        "flock --length 99999999999999999999 file echo ran",
        (
            64,
            "",
            "flock: invalid as length of lock range: '99999999999999999999': \
             Numerical result out of range\n",
        ),
    ),
    (
        "flock --start",
        (
            64,
            "",
            "flock: option '--start' requires an argument\nTry 'flock --help' for more information.\n",
        ),
    ),
    // A command with an inherited descriptor.
    ("exec 9>file; flock --fd 9 flock -n file true", (1, "", "")),
    ("exec 9>file; flock --fd=9 -x sh -c 'exit 7'", (7, "", "")),
    (
        "exec 9>file; flock --fd 9 -c 'echo ran; exit 7'",
        (7, "ran\n", ""),
    ),
    (
        "exec 9>file; flock --fd 9 --command 'echo ran'",
        (0, "ran\n", ""),
    ),
    ("exec 9>file; flock --fd 9 -n -- echo -c", (0, "-c\n", "")),
    (
        "exec 9>file; flock --fd 9 -c a b",
        (64, "", "flock: -c requires exactly one command argument\n"),
    ),
    (
        "exec 9>file; flock --fd 9 -c",
        (64, "", "flock: -c requires exactly one command argument\n"),
    ),
    (
        "exec 9>file; flock -o --fd 9 sh -c 'test -e /proc/self/fd/9'",
        (1, "", ""),
    ),
    (
        "exec 9>file; flock -F --fd 9 flock -n 9; echo $?",
        (0, "0\n", ""),
    ),
    (
        "exec 8<file 9<file; flock 8; flock --fd 9 -n echo ran",
        (1, "", ""),
    ),
    (
        "exec 8<file 9<file; flock 8; flock --fd 9 -w 0.05 echo ran",
        (1, "", ""),
    ),
    (
        "flock --fd 9 echo ran",
        (65, "", "flock: 9: Bad file descriptor\n"),
    ),
    (
        "flock --fd x echo ran",
        (64, "", "flock: bad file descriptor: 'x'\n"),
    ),
    (
        "exec 9>file; flock --fd 9 nosuch",
        (
            69,
            "",
            "flock: failed to execute nosuch: No such file or directory\n",
        ),
    ),
];
