//! `cargo xtask install`: install the command, its manual pages and completions under a prefix.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dist;
use crate::run::Done;

/// The places of completions below the prefix, where the shells search by themselves.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/holdlock"),
    ("zsh", "share/zsh/site-functions/_holdlock"),
    ("fish", "share/fish/vendor_completions.d/holdlock.fish"),
];

const MANUAL: &str = "share/man/man1";

/// The settings of the command line.
struct Settings {
    prefix: PathBuf,
    /// Install the command under the name flock as well.
    flock: bool,
}

/// Builds the command as `dist` does, and installs it.
pub(crate) fn install(arguments: &[String]) -> Done {
    let settings = parse(arguments)?;
    let root = staged(&settings.prefix, std::env::var_os("DESTDIR"));
    let built = dist::dist()?;
    install_below(&root, &built, settings.flock)
}

fn parse(arguments: &[String]) -> Done<Settings> {
    let mut prefix = None;
    let mut flock = false;
    for word in arguments {
        match word.as_str() {
            "--flock" => flock = true,
            option if option.starts_with('-') => {
                return Err(format!("install: no such option: {option}"));
            }
            path if prefix.is_none() => prefix = Some(PathBuf::from(path)),
            second => return Err(format!("install: one PREFIX, not also {second}")),
        }
    }
    let prefix = prefix.unwrap_or_else(|| "/usr/local".into());
    // Cargo starts tasks in the directory of the caller, so a relative prefix would work; but with
    // DESTDIR it has no meaning.
    if !prefix.is_absolute() {
        return Err(format!("install: {} is not absolute", prefix.display()));
    }
    Ok(Settings { prefix, flock })
}

/// The prefix below DESTDIR, the directory in which packagers collect the files.
fn staged(prefix: &Path, destination: Option<OsString>) -> PathBuf {
    let Some(destination) = destination.filter(|value| !value.is_empty()) else {
        return prefix.to_owned();
    };
    let inside = prefix.strip_prefix("/").unwrap_or(prefix);
    Path::new(&destination).join(inside)
}

/// Puts everything in place, and prints the name of each file.
fn install_below(root: &Path, built: &Path, flock: bool) -> Done {
    let program = root.join("bin/holdlock");
    let contents = fs::read(built).map_err(|error| failed("read", built, &error))?;
    put(&program, &contents, 0o755)?;
    if flock {
        link(&root.join("bin/flock"))?;
    }
    for page in pages(built)? {
        let name = page.file_name().ok_or("a page without a name")?;
        let text = fs::read(&page).map_err(|error| failed("read", &page, &error))?;
        put(&root.join(MANUAL).join(name), &text, 0o644)?;
    }
    for (shell, place) in COMPLETIONS {
        let script = output(Command::new(built).args(["completions", shell]))?;
        put(&root.join(place), &script, 0o644)?;
    }
    Ok(())
}

/// Writes a file beside its place and moves it there. A running program cannot be written to, but
/// it can be replaced, and no process ever reads half of it.
fn put(path: &Path, contents: &[u8], mode: u32) -> Done {
    let directory = path.parent().ok_or("a file without a directory")?;
    fs::create_dir_all(directory).map_err(|error| failed("create", directory, &error))?;
    let beside = path.with_extension("new");
    fs::write(&beside, contents)
        .and_then(|()| fs::set_permissions(&beside, fs::Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| failed("write", path, &error))?;
    println!("{}", path.display());
    Ok(())
}

/// Makes `flock`, a link to the `holdlock` beside it. Any other file of that name stays.
fn link(path: &Path) -> Done {
    match fs::read_link(path) {
        Ok(target) if target == Path::new("holdlock") => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            symlink("holdlock", path).map_err(|error| failed("write", path, &error))?;
        }
        _ => {
            return Err(format!(
                "{} exists and is not a link to holdlock; remove it, or leave --flock out",
                path.display()
            ));
        }
    }
    println!("{} -> holdlock", path.display());
    Ok(())
}

/// Writes the manual pages beside the program that was built, and returns their paths.
fn pages(built: &Path) -> Done<Vec<PathBuf>> {
    let directory = built.with_file_name("man");
    // Pages of subcommands that no longer exist must not be installed.
    let _ = fs::remove_dir_all(&directory);
    output(Command::new(built).arg("man").arg(&directory))?;
    let listed = fs::read_dir(&directory).map_err(|error| failed("read", &directory, &error))?;
    let mut pages: Vec<PathBuf> = listed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    pages.sort();
    Ok(pages)
}

fn output(command: &mut Command) -> Done<Vec<u8>> {
    let name = command.get_program().display().to_string();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{name}: {} ({})", said.trim_end(), output.status))
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Done<Settings> {
        parse(
            &words
                .iter()
                .map(|word| word.to_string())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn the_prefix_is_usr_local_unless_named() {
        let settings = parsed(&[]).unwrap();
        assert_eq!(
            (settings.prefix, settings.flock),
            ("/usr/local".into(), false)
        );
        let settings = parsed(&["--flock", "/opt/x"]).unwrap();
        assert_eq!((settings.prefix, settings.flock), ("/opt/x".into(), true));
        for words in [&["--flok"][..], &["/a", "/b"], &["relative"]] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn files_are_collected_below_destdir() {
        let below = |value: Option<&str>| staged(Path::new("/usr"), value.map(Into::into));
        assert_eq!(below(None), Path::new("/usr"));
        assert_eq!(below(Some("")), Path::new("/usr"));
        assert_eq!(below(Some("/tmp/package")), Path::new("/tmp/package/usr"));
    }

    #[test]
    fn everything_gets_its_place_and_a_second_time_replaces_it() {
        let place = std::env::temp_dir().join(format!("xtask-install-{}", std::process::id()));
        // A run that failed may have left one of the same number.
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(place.join("built")).unwrap();
        // A stand-in for the command: it writes one page, and prints the shell it is asked for.
        let built = place.join("built/holdlock");
        let script = "#!/bin/sh\n\
            if [ \"$1\" = man ]; then mkdir \"$2\" && echo page > \"$2/holdlock.1\"; else echo \"$2\"; fi\n";
        // A child writes it. If this process did, the child of another test could have it open, and
        // a program that is open for writing cannot be started.
        let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let mut sh = Command::new("sh");
        let written = sh.args(["-c", write]).arg(&built).arg(script).status();
        assert!(written.unwrap().success());
        let root = place.join("prefix");
        for _ in 0..2 {
            install_below(&root, &built, true).unwrap();
        }
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(read("bin/flock"), script);
        assert_eq!(read("share/man/man1/holdlock.1"), "page\n");
        for (shell, path) in COMPLETIONS {
            assert_eq!(read(path), format!("{shell}\n"));
        }
        fs::remove_file(root.join("bin/flock")).unwrap();
        fs::write(root.join("bin/flock"), "another's").unwrap();
        assert!(install_below(&root, &built, true).is_err());
        assert_eq!(read("bin/flock"), "another's");
        fs::remove_dir_all(&place).unwrap();
    }
}
