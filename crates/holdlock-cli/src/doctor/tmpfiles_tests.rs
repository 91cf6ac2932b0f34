//! Rules as distributions have them, and what they mean for a lock file.

use super::*;

const RULES: &str = "\
# comment
q /tmp 1777 root root 10d
q /var/tmp 1777 root root 30d
x /tmp/systemd-private-%b-*
X /tmp/systemd-private-%b-*/tmp
D! /tmp/.X11-unix 1777 root root 10d
r! /tmp/.X[0-9]*-lock
r /run/stale/*.lock
R /run/old
d /run/lock 0755 root root -
e /var/cache/*/ - - - bmA:1h
d \"/srv/a b\" - - - 5d
x /tmp/keep
d /tmp/own 0700 ann ann -
d /%t/x
";

fn of(path: &str) -> Option<String> {
    let rules = parse(RULES);
    match fate(&rules, Path::new(path)) {
        Fate::Kept => None,
        Fate::Aged(rule) => rule.age.clone(),
        Fate::Removed(rule) => Some(format!("removed by {}", rule.path)),
    }
}

#[test]
fn the_nearest_rule_decides() {
    for (path, expected) in [
        ("/tmp/x.lock", Some("10d")),
        ("/tmp/a/b/x.lock", Some("10d")),
        ("/var/tmp/x.lock", Some("30d")),
        ("/tmp/keep", None),
        ("/tmp/keep/x.lock", None),
        ("/tmp/own/x.lock", None),
        ("/tmp/systemd-private-1-cron/x.lock", None),
        // Kept itself, but not what is in it.
        ("/tmp/.X11-unix/x", Some("10d")),
        ("/tmp/.X11-lock", None),
        ("/run/lock/x.lock", None),
        ("/run/stale/x.lock", Some("removed by /run/stale/*.lock")),
        ("/run/old/a/b", Some("removed by /run/old")),
        ("/var/cache/a/x.lock", Some("bmA:1h")),
        ("/var/cache/x.lock", None),
        ("/srv/a b/x.lock", Some("5d")),
        ("/home/ann/x.lock", None),
    ] {
        assert_eq!(of(path).as_deref(), expected, "{path}");
    }
}

#[test]
fn the_contents_of_a_directory_that_is_kept_itself_still_age() {
    let rules = parse("d /tmp - - - 10d\nX /tmp/keep\n");
    assert!(matches!(
        fate(&rules, Path::new("/tmp/keep/x")),
        Fate::Aged(_)
    ));
    assert_eq!(fate(&rules, Path::new("/tmp/keep")), Fate::Kept);
}

#[test]
fn words_and_specifiers_are_read_as_systemd_does() {
    assert_eq!(words("d  'a b'\t\"\" c"), ["d", "a b", "", "c"]);
    assert_eq!(plain("%t/%%/%b-x"), "/run/%/*-x");
    assert_eq!(plain("x%"), "x*");
    assert_eq!(parse("nonsense\n\n#x\n"), []);
    assert_eq!(parse("d /a/ - - - ~1d")[0].age.as_deref(), Some("1d"));
}
