//! A resource that refuses older tokens.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::sealed::{Content, Found, Text, Values, check_file_size_limit};
use crate::request::OnWait;
use crate::{Error, FileLock, LockOptions, OwnedGuard, Request};

const KIND: &str = "holdlock token gate ";
const FIRST_LINE: &[u8] = b"holdlock token gate 1\n";

/// The counterpart of [`Guard::token`](crate::Guard::token): lets a writer pass to a resource only
/// if no writer with a later token has passed.
///
/// A lock alone cannot stop a holder that was suspended, or that has lost the lock without
/// noticing: the holder may continue to write while another process holds the lock. A token gate at
/// the resource refuses that write, because the later holder has a higher token. Every writer has
/// to go through the gate.
///
/// The gate is a file of its own. It keeps the highest token, and is locked while a writer is
/// inside. A higher token is on the disk (fdatasync(2), some milliseconds) before the writer may
/// enter. Databases do the same with a column: `UPDATE … SET value = ?, token = ? WHERE token <=
/// ?`.
///
/// ```
/// use holdlock::{Error, LockOptions, TokenGate};
/// # let dir = std::env::temp_dir().join(format!("holdlock-doc-gate-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// let lock = LockOptions::new().record(true).open(dir.join("job.lock"))?;
/// let gate = TokenGate::open(dir.join("data.gate"))?;
///
/// let guard = lock.lock()?;
/// let token = guard.token().expect("the lock has a record");
/// {
///     let _inside = gate.pass(token)?;
///     std::fs::write(dir.join("data"), "new content")?;
/// }
/// # drop(guard);
///
/// // A later holder has written, and the first one wakes up:
/// let later = lock.lock()?.token().expect("a record");
/// drop(gate.pass(later)?);
/// assert!(matches!(gate.pass(token), Err(Error::StaleToken { .. })));
/// # drop((lock, gate)); std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "fencing")]
pub struct TokenGate {
    lock: Arc<FileLock>,
}

/// Proof of being inside a [`TokenGate`]: no other writer is inside until this is dropped.
#[derive(Debug)]
#[must_use = "the gate is left when this is dropped"]
pub struct Passed {
    guard: OwnedGuard,
}

impl Passed {
    /// Leaves the gate, as dropping does, and says whether other writers were kept out until now.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if other code has closed the descriptor of the gate: then another writer
    /// may have entered meanwhile.
    pub fn leave(self) -> Result<(), Error> {
        self.guard.release()
    }
}

impl TokenGate {
    /// Opens the gate at `path`. Creates an empty gate if it is missing; an empty gate lets every
    /// token pass.
    ///
    /// # Errors
    ///
    /// Those of [`FileLock::open`]. If the file has other content, [`pass`](TokenGate::pass) fails
    /// and leaves the content as it is.
    pub fn open(path: impl AsRef<Path>) -> Result<TokenGate, Error> {
        let lock = LockOptions::new().writable(true).open(path)?;
        Ok(TokenGate {
            lock: Arc::new(lock),
        })
    }

    /// Waits until no other writer is inside, and enters if no later token has passed.
    ///
    /// # Errors
    ///
    /// [`Error::StaleToken`] if a later token has passed, [`Error::Record`] if the file is not a
    /// gate or cannot be written, and those of [`FileLock::lock`].
    pub fn pass(&self, token: u64) -> Result<Passed, Error> {
        self.pass_with(token, Request::exclusive())
    }

    /// The same. The request says how long to wait for the other writers and what may end the wait.
    /// Its mode does not matter.
    pub fn pass_with<W: OnWait>(&self, token: u64, request: Request<W>) -> Result<Passed, Error> {
        let guard = self.lock.acquire_owned(request.exclusively())?;
        let newest = self.newest(&guard)?;
        if token < newest {
            return Err(Error::StaleToken {
                path: guard.path().to_owned(),
                token,
                newest,
            });
        }
        if token > newest {
            self.write(&guard, token)
                .map_err(|error| self.lock.cannot_record(error))?;
        }
        Ok(Passed { guard })
    }

    fn newest(&self, guard: &OwnedGuard) -> Result<u64, Error> {
        let failed = |error| self.lock.cannot_record(error);
        let refused = |why| failed(io::Error::new(io::ErrorKind::InvalidData, why));
        // A FIFO or a device keeps no token.
        if !guard.file().metadata().map_err(failed)?.is_file() {
            return Err(refused(
                "it is not a regular file; name a file of its own for the gate",
            ));
        }
        let found = Found::read(guard.file()).map_err(failed)?;
        let why = match found.content(KIND) {
            Content::Nothing => return Ok(0),
            Content::Lines(lines) => {
                if let Some(token) = Values::of(lines)
                    .get("token")
                    .and_then(|token| token.parse().ok())
                {
                    return Ok(token);
                }
                "it has no token; write a new one when no writer is at work"
            }
            Content::Damaged => {
                "it is damaged, and the highest token is not known; remove the file when no older \
                 writer is at work"
            }
            Content::Newer(_) => "it is from a newer version of holdlock; update this one",
            Content::Foreign => {
                "it has content that is not a token gate's, and is left as it is; name a file of \
                 its own for the gate"
            }
        };
        Err(refused(why))
    }

    fn write(&self, guard: &OwnedGuard, token: u64) -> io::Result<()> {
        let mut text = Text::new();
        text.push(FIRST_LINE);
        text.push(b"token: ");
        text.push_number(token, 1);
        text.push(b"\n");
        let checksum = text.checksum_of(0..text.length(), 0);
        text.seal(checksum);
        check_file_size_limit()?;
        text.write(guard.file())?;
        guard.file().sync_data()
    }
}
