//! Certificates for servers of tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Makes a certificate for `localhost`, which is its own authority, and its key: `NAME.crt` and
/// `NAME.key`. None if there is no openssl.
pub fn certificate(directory: &Path, name: &str) -> Option<(PathBuf, PathBuf)> {
    let file = |ending: &str| directory.join(format!("{name}.{ending}"));
    let (certificate, key) = (file("crt"), file("key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-days", "30"]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost"]);
    openssl.args(["-addext", "basicConstraints=CA:FALSE"]);
    openssl.arg("-keyout").arg(&key);
    openssl.arg("-out").arg(&certificate);
    let made = openssl.stderr(Stdio::null()).status();
    made.is_ok_and(|status| status.success())
        .then_some((certificate, key))
}
