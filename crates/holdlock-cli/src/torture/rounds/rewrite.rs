//! Holders of mode rewrite: each reads a file with a number of each participant, raises its own
//! number, and writes the whole file a while later. If two overlap, the numbers of one are lost.
//!
//! A holder that was stopped between its last look at the guard and its write may spoil the file,
//! since nothing here checks tokens. It says so, and the next holder repairs the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Taker;
use crate::torture::board::PARTICIPANTS;
use crate::torture::finding::Kind;
use crate::torture::mode::Mode;
use crate::torture::tenure::Tenure;

/// How soon a holder says that it has spoiled the file.
const SPOILED: Duration = Duration::from_millis(200);

type Numbers = [u64; PARTICIPANTS];

pub(super) fn work(taker: &Taker, tenure: &mut Tenure, time: Duration) {
    let result = rewrite(taker, tenure, time);
    if let Err(error) = result {
        let text = format!("the file of mode rewrite: {error}");
        taker.failed(Mode::Rewrite, text, error.raw_os_error());
    }
}

fn rewrite(taker: &Taker, tenure: &mut Tenure, time: Duration) -> io::Result<()> {
    let board = taker.me.board;
    let words = board.mode(Mode::Rewrite);
    let all = |taker: &Taker| -> Numbers {
        std::array::from_fn(|id| {
            let participant = &taker.me.board.participants[id];
            participant.acknowledged.load(Ordering::SeqCst)
        })
    };
    // Before the file is read.
    let acknowledged = all(taker);
    let file = open(taker)?;
    let mut numbers = read(&file)?;
    if !tenure.is_undisturbed() {
        return Ok(());
    }
    if let Some(id) = (0..PARTICIPANTS).find(|&id| numbers[id] < acknowledged[id]) {
        let begin = Instant::now();
        let pending = || {
            let spoiled = words.spoiled.load(Ordering::SeqCst);
            (spoiled != words.repaired.load(Ordering::SeqCst)).then_some(spoiled)
        };
        let spoiled = loop {
            match pending() {
                None if begin.elapsed() < SPOILED => std::thread::sleep(Duration::from_millis(1)),
                other => break other,
            }
        };
        if !tenure.is_undisturbed() {
            return Ok(());
        }
        let Some(spoiled) = spoiled else {
            let text = format!(
                "participant {id} wrote {}, and the file has {}",
                acknowledged[id], numbers[id]
            );
            taker
                .me
                .find(Kind::LostUpdate, Mode::Rewrite, Some(id), text);
            return Ok(());
        };
        for (number, acknowledged) in numbers.iter_mut().zip(acknowledged) {
            *number = acknowledged.max(*number);
        }
        words.repaired.store(spoiled, Ordering::SeqCst);
    }
    let own = &mut numbers[taker.me.id];
    *own = acknowledged[taker.me.id].max(*own) + 1;
    let own = *own;
    tenure.stay(time);
    if tenure.look() {
        write(&file, &numbers)?;
        // After the write: it was the holder's.
        if tenure.is_undisturbed() {
            let word = &taker.me.words().acknowledged;
            word.store(own, Ordering::SeqCst);
        } else {
            words.spoiled.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// The fault: writes what was read a while ago, without the lock and without a mark.
pub(super) fn without_the_lock(taker: &Taker) {
    let stale = || -> io::Result<()> {
        let file = open(taker)?;
        let numbers = read(&file)?;
        std::thread::sleep(Duration::from_millis(100));
        write(&file, &numbers)
    };
    // The file is that of the other rounds, which report what is wrong with it.
    let _ = stale();
}

fn open(taker: &Taker) -> io::Result<File> {
    let path = taker.directory.join("rewrite.data");
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path)
}

/// A file that is new has no numbers yet.
fn read(file: &File) -> io::Result<Numbers> {
    let mut bytes = [0; 8 * PARTICIPANTS];
    let length = file.read_at(&mut bytes, 0)?;
    bytes[length..].fill(0);
    let mut numbers = [0; PARTICIPANTS];
    for (number, chunk) in numbers.iter_mut().zip(bytes.as_chunks().0) {
        *number = u64::from_le_bytes(*chunk);
    }
    Ok(numbers)
}

fn write(file: &File, numbers: &Numbers) -> io::Result<()> {
    let bytes = numbers.map(u64::to_le_bytes);
    file.write_all_at(bytes.as_flattened(), 0)
}
