//! Mutants of opening and creating the lock file.

use crate::mutants::{Area, Mutant};

pub(super) const AREA: Area = Area {
    name: "files",
    sources: "crates/holdlock/src",
    mutants: &[
        Mutant {
            name: "a pinned file's number is checked when it is opened",
            file: "acquire/open.rs",
            with: "if !name.is_expected(fd.identity) {",
            without: "if false {",
            test: ("data_file", "a_strangers_file"),
        },
        Mutant {
            name: "a file that must be writable is",
            file: "acquire/open.rs",
            with: "Writing::Needed => &[Access::ReadWrite],",
            without: "Writing::Needed => &[Access::ReadWrite, Access::Read],",
            test: ("data_file", "a_file_that_must_be_writable"),
        },
        Mutant {
            name: "a lock file without read permission is opened for writing",
            file: "acquire/open.rs",
            with: "&[Access::Read, Access::Write]",
            without: "&[Access::Read]",
            test: ("files", "a_read_only_file_of_another_user"),
        },
        Mutant {
            name: "a lock file is opened for reading where writing is denied",
            file: "acquire/open.rs",
            with: "&[Access::Read, Access::Write]",
            without: "&[Access::ReadWrite]",
            test: ("files", "a_read_only_file_of_another_user"),
        },
        Mutant {
            name: "a file open for reading is opened anew for writing on NFS",
            file: "acquire/mod.rs",
            with: "Some(Refusal::BadDescriptor) && !file.writable",
            without: "Some(Refusal::BadDescriptor) && false",
            test: ("faults", "nfs"),
        },
        Mutant {
            name: "a directory in which no file can be created is told from one that is missing",
            file: "acquire/create.rs",
            with: "if is_missing && is_at(parent, &directory) {",
            without: "if is_missing && false {",
            test: ("files", "the_kernel_creates_no_files"),
        },
        Mutant {
            name: "a lease on the file is waited for",
            file: "acquire/open_or_create.rs",
            with: "Opened::Leased(leased) => return Ok(TryOpen::Leased(leased)),",
            without: "Opened::Leased(_) => return Err(io::ErrorKind::WouldBlock.into()),",
            test: ("limits", "a_lease"),
        },
        Mutant {
            name: "symbolic links are not followed",
            file: "sys/linux/file.rs",
            with: "-> std::fs::OpenOptions {\n    let nofollow = if follow { 0 } else { libc::O_NOFOLLOW };",
            without: "-> std::fs::OpenOptions {\n    let nofollow = if follow { 0 } else { 0 };",
            test: ("files", "a_symbolic_link"),
        },
        Mutant {
            name: "opening a FIFO does not block",
            file: "sys/linux/file.rs",
            with: "options(access, follow, libc::O_NONBLOCK).open(path)",
            without: "options(access, follow, 0).open(path)",
            test: ("files", "a_fifo"),
        },
        Mutant {
            name: "an existing file is opened without O_CREAT",
            file: "sys/linux/file.rs",
            with: "options(access, follow, libc::O_NONBLOCK).open(path)",
            without: "options(access, follow, libc::O_NONBLOCK | libc::O_CREAT).open(path)",
            test: ("files", "another_users_file"),
        },
        Mutant {
            name: "the mode is set before the name",
            file: "sys/linux/file.rs",
            with: "        file.set_permissions(permissions.clone())?;\n        let magic",
            without: "        let magic",
            test: ("files", "an_explicit_mode_is_exact"),
        },
        Mutant {
            name: "a file system that cannot lock is recognised",
            file: "error/mod.rs",
            with: "Some(Refusal::Unsupported)",
            without: "None",
            test: ("faults", "a_file_system_that_cannot_lock"),
        },
    ],
};
