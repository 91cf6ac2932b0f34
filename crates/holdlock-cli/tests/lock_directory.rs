//! Names of locks, `holdlock path`, and the directory behind them.

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use support::peers::skipped;
use support::{Finished, Place, Running};

#[test]
fn path_prints_and_creates_nothing() {
    let place = Place::new();
    let expected = format!("{}/backup.lock\n", place.locks().display());
    assert_eq!(place.run(["path", "backup"]).text(), expected);
    assert_eq!(place.run(["path", "./x/y"]).text(), "./x/y\n");
    let odd = OsStr::from_bytes(b"/tmp/\xff");
    assert_eq!(place.run([OsStr::new("path"), odd]).stdout, b"/tmp/\xff\n");
    assert!(!place.locks().exists());
    for words in [
        &["path"][..],
        &["path", ""],
        &["path", "."],
        &["path", "a", "b"],
    ] {
        assert_eq!(place.run(words).code(), 64, "{words:?}");
    }
}

#[test]
fn the_directory_does_not_depend_on_the_session() {
    let place = Place::new();
    let path = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = place.holdlock(["path", "backup"]);
        command.env_remove("HOLDLOCK_DIR");
        change(&mut command);
        Running::start(command).finish().text().to_owned()
    };
    let usual = path(&|_| {});
    assert!(
        ["/run/holdlock/", "/run/lock/holdlock-", "/tmp/holdlock-"]
            .iter()
            .any(|place| usual.starts_with(place)),
        "{usual}"
    );
    let cron = |command: &mut std::process::Command| {
        command.env_clear();
    };
    assert_eq!(path(&cron), usual);
    let empty = |command: &mut std::process::Command| {
        command.env("HOLDLOCK_DIR", "");
    };
    assert_eq!(path(&empty), usual);
    let session = |command: &mut std::process::Command| {
        command
            .env("XDG_RUNTIME_DIR", "/x")
            .env("XDG_STATE_HOME", "/w")
            .env("HOME", "/y")
            .env("TMPDIR", "/z");
    };
    assert_eq!(path(&session), usual);
}

#[test]
fn the_directory_is_made_for_its_user_alone() {
    let place = Place::new();
    assert_eq!(place.run(["run", "L", "true"]).code(), 0);
    let mode = std::fs::metadata(place.locks())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert!(place.locks().join("L.lock").exists());
}

#[test]
fn a_directory_that_others_could_have_made_is_refused() {
    let refused = |prepare: &dyn Fn(&Place), why: &str| {
        let place = Place::new();
        prepare(&place);
        for words in [&["run", "L", "true"][..], &["demo", "--max-sleep", "1ms"]] {
            let finished = place.run(words);
            assert_eq!(finished.code(), 73, "{words:?}: {finished:?}");
            assert!(finished.stderr.contains(why), "{}", finished.stderr);
        }
    };
    let open_for = |mode| {
        move |place: &Place| {
            std::fs::create_dir(place.locks()).unwrap();
            std::fs::set_permissions(place.locks(), std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    refused(&open_for(0o770), "other users can write");
    refused(&open_for(0o1777), "other users can write");
    refused(
        &|place| std::fs::write(place.locks(), "").unwrap(),
        "not a directory",
    );
    refused(
        &|place| {
            std::fs::create_dir(place.join("elsewhere")).unwrap();
            symlink(place.join("elsewhere"), place.locks()).unwrap();
        },
        "symbolic link",
    );
}

/// With a slash at its end the path means what the symbolic link leads to.
#[test]
fn a_symbolic_link_is_refused_however_the_path_of_the_directory_ends() {
    let place = Place::new();
    std::fs::create_dir(place.join("elsewhere")).unwrap();
    symlink(place.join("elsewhere"), place.locks()).unwrap();
    for end in ["/", "//", "/.", "/./"] {
        let mut directory = place.locks().into_os_string();
        directory.push(end);
        for words in [&["run", "L", "true"][..], &["who", "L"], &["path", "L"]] {
            let mut command = place.holdlock(words);
            command.env("HOLDLOCK_DIR", &directory);
            let finished = Running::start(command).finish();
            assert_eq!(finished.code(), 73, "{words:?}: {finished:?}");
            assert!(finished.stderr.contains("symbolic link"), "{finished:?}");
        }
    }
}

#[test]
fn a_relative_lock_directory_is_wrong_usage() {
    let place = Place::new();
    let mut command = place.holdlock(["path", "L"]);
    command.env("HOLDLOCK_DIR", "locks");
    assert_eq!(Running::start(command).finish().code(), 64);
}

/// A test host with its own /run, with two users and everything that they can create there.
fn host(place: &Place, script: &str) -> Option<Finished> {
    const HOST: &str = r#"
        set -e
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir -m 1777 /run/lock
        cp "$HOLDLOCK" /run/holdlock-program
        unset HOLDLOCK_DIR
        H=/run/holdlock-program
        as() { uid=$1; shift; setpriv --reuid $uid --regid $uid --clear-groups -- "$@"; }
        ANN=65531 MALLORY=65532
        set +e
    "#;
    let mut command = place.command("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg(format!("{HOST}{script}"));
    let can = |words: &[&str]| {
        let tried = std::process::Command::new(words[0])
            .args(&words[1..])
            .output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let mount = "mount -t tmpfs tmpfs /run";
    if !can(&["unshare", "--mount", "sh", "-c", mount]) {
        skipped("only root can mount, in a mount namespace of its own");
        return None;
    }
    if !can(&["setpriv", "--reuid", "65531", "--clear-groups", "true"]) {
        skipped("setpriv (util-linux) cannot become another user");
        return None;
    }
    Some(Running::start(command).finish())
}

#[test]
fn roots_names_cannot_be_taken_by_others() {
    let script = r#"
        as $MALLORY mkdir /run/lock/holdlock /run/lock/holdlock-0 || exit 1
        as $MALLORY mkdir /run/holdlock 2>/dev/null && exit 2
        $H path job
        $H run job echo ran
        stat -c '%U %a' /run/holdlock
    "#;
    let Some(finished) = host(&Place::new(), script) else {
        return;
    };
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.text(), "/run/holdlock/job.lock\nran\nroot 700\n");
}

#[test]
fn a_users_name_that_others_have_taken_is_refused_with_the_remedy() {
    let script = r#"
        as $MALLORY mkdir -m 777 /run/lock/holdlock-$ANN || exit 1
        for words in "run job echo ran" "path job" "who job" "graph job" "who --signal KILL -y job"
        do as $ANN $H $words; echo $? $words; done
        mkdir -m 700 /run/own && chown $ANN /run/own
        as $ANN env HOLDLOCK_DIR=/run/own $H run job echo ran
    "#;
    let Some(finished) = host(&Place::new(), script) else {
        return;
    };
    let codes = "73 run job echo ran\n73 path job\n73 who job\n73 graph job\n\
                 73 who --signal KILL -y job\nran\n";
    assert_eq!(finished.text(), codes, "{}", finished.stderr);
    for line in finished.stderr.lines() {
        for part in [
            "refusing the lock directory /run/lock/holdlock-65531: it belongs to user 65532",
            "have its owner or root remove it, or set HOLDLOCK_DIR to a local directory",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }
}

#[test]
fn a_cron_job_and_a_session_of_one_user_exclude_each_other() {
    // The session has the environment and the directories of a login; the cron job has nothing.
    let script = r#"
        mkdir -p -m 755 /run/user && mkdir -m 700 /run/user/$ANN /run/home
        chown $ANN /run/user/$ANN /run/home
        mkfifo -m 666 /run/held /run/end
        as $ANN env -i $H run job sh -c 'echo held > /run/held; read line < /run/end' &
        read line < /run/held
        as $ANN env XDG_RUNTIME_DIR=/run/user/$ANN XDG_STATE_HOME=/run/home/.local/state \
            HOME=/run/home TMPDIR=/run/home $H run -n job echo both
        echo $?
        echo > /run/end
        wait
    "#;
    let Some(finished) = host(&Place::new(), script) else {
        return;
    };
    assert_eq!(finished.text(), "75\n", "{}", finished.stderr);
}

#[test]
fn a_lock_directory_of_an_older_version_is_warned_of() {
    let script = "mkdir -m 700 /run/lock/holdlock; $H run job echo ran";
    let Some(finished) = host(&Place::new(), script) else {
        return;
    };
    assert_eq!(finished.text(), "ran\n");
    assert!(
        finished
            .stderr
            .contains("/run/lock/holdlock is the lock directory of an older holdlock"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_directory_that_root_has_made_for_a_user_is_used_where_run_lock_is_closed() {
    let script = r#"
        chmod 755 /run/lock
        as $ANN $H path job
        mkdir -m 700 /run/lock/holdlock-$ANN && chown $ANN /run/lock/holdlock-$ANN
        as $ANN $H path job
        as $ANN $H run job echo ran
        as $MALLORY $H path job
    "#;
    let Some(finished) = host(&Place::new(), script) else {
        return;
    };
    let said = "/tmp/holdlock-65531/job.lock\n/run/lock/holdlock-65531/job.lock\nran\n\
                /tmp/holdlock-65532/job.lock\n";
    assert_eq!(finished.text(), said, "{}", finished.stderr);
}

#[test]
fn root_is_told_of_the_lock_of_the_same_name_that_a_user_holds() {
    let script = r#"
        mkfifo -m 666 /run/held /run/end
        as $ANN $H run job sh -c 'echo held > /run/held; read line < /run/end' &
        read line < /run/held
        $H who job 2>&1
        $H run -n job echo ran 2>&1
        $H run -qn job echo quiet 2>&1
        HOLDLOCK_DIR=/run/holdlock $H run -n job echo chosen 2>&1
        echo > /run/end
        wait
        $H run -n job echo free 2>&1
    "#;
    let Some(finished) = host(&Place::new(), script) else {
        return;
    };
    let text = finished.text();
    let told =
        "another user's lock of the same name is held: /run/lock/holdlock-65531/job.lock, by pid ";
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{finished:?}");
    assert!(
        lines[0].contains(told) && lines[0].contains("--system"),
        "{text}"
    );
    assert!(
        lines[1].ends_with("job.lock: free, there is no such file"),
        "{text}"
    );
    assert!(lines[2].contains(told), "{text}");
    assert_eq!(lines[3..], ["ran", "quiet", "chosen", "free"], "{text}");
}

#[test]
fn names_for_all_users_are_one_lock_and_only_root_makes_them() {
    let script = r#"
        umask 077
        as $ANN $H run --system job echo too early; echo $?
        as $MALLORY mkdir /run/holdlock-system 2>/dev/null && echo taken
        $H path --system job
        $H run --system job echo made
        stat -c '%U %a' /run/holdlock-system /run/holdlock-system/job.lock
        as $MALLORY touch /run/holdlock-system/x 2>/dev/null && echo written
        mkfifo /run/held /run/end; chmod 666 /run/held /run/end
        as $ANN $H run --system job sh -c 'echo held > /run/held; read line < /run/end' &
        read line < /run/held
        $H run --system -n job echo both; echo $?
        as $MALLORY $H run --system -n job echo both; echo $?
        $H who --system -q job; echo $?
        $H wait --system -qw0 job; echo $?
        echo > /run/end
        wait
        as $MALLORY $H run --system -n job echo next
        chmod 777 /run/holdlock-system
        as $ANN $H run --system job echo unsafe; echo $?
        $H who --system job; echo $?
    "#;
    let Some(finished) = host(&Place::new(), script) else {
        return;
    };
    let said = "73\n/run/holdlock-system/job.lock\nmade\nroot 755\nroot 644\n75\n75\n0\n75\n\
                next\n73\n73\n";
    assert_eq!(finished.text(), said, "{}", finished.stderr);
    let remedy = "only root can create it, with: holdlock run --system job true";
    assert!(finished.stderr.contains(remedy), "{}", finished.stderr);
    let refused =
        "refusing the lock directory /run/holdlock-system: users other than root can write";
    assert!(finished.stderr.contains(refused), "{}", finished.stderr);
}

#[test]
fn a_name_that_looks_like_a_file_here_is_warned_of() {
    let place = Place::new();
    std::fs::write(place.join("ledger"), "").unwrap();
    std::fs::create_dir(place.join("build")).unwrap();
    for (name, warned) in [
        ("nightly.lock", true),
        ("ledger", true),
        ("build", false),
        ("nightly", false),
        ("./ledger", false),
    ] {
        let finished = place.run(["run", name, "true"]);
        assert_eq!(finished.code(), 0);
        let here = format!("not the file in this directory; for the file write ./{name}\n");
        assert_eq!(finished.stderr.contains(&here), warned, "{finished:?}");
        assert_eq!(finished.stderr.is_empty(), !warned, "{finished:?}");
    }
    assert_eq!(place.run(["run", "-q", "ledger", "true"]).stderr, "");
}
