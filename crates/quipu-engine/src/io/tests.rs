//! The rules that every disk keeps, the real one and the simulated one.

use std::io::ErrorKind;
use std::path::Path;

use super::sim::SimDisk;
use super::{Io, Reads, SystemIo};

/// Runs each case on every disk.
macro_rules! on_every_disk {
    ($($case:ident),* $(,)?) => {
        mod on_the_system {
            $(#[test] fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::$case(&super::SystemIo::new(), dir.path());
            })*
        }
        mod on_the_system_without_mappings {
            $(#[test] fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let io = super::SystemIo::new().with_reads(super::Reads::Copied);
                super::$case(&io, dir.path());
            })*
        }
        mod on_the_simulated_disk {
            $(#[test] fn $case() {
                let disk = super::SimDisk::new(1);
                let dir = std::path::Path::new("/dir");
                super::Io::create_dir(&disk, dir).unwrap();
                super::$case(&disk, dir);
            })*
        }
    };
}

on_every_disk!(
    what_was_written_is_read,
    a_write_behind_the_end_fills_the_gap_with_zeros,
    a_read_beyond_the_end_is_an_error,
    no_bytes_are_there_up_to_the_end_and_not_beyond,
    a_file_that_is_cut_and_grown_again_shows_zeros,
    bytes_stay_readable_while_the_file_grows,
    bytes_outlive_the_file,
    a_name_is_given_once,
    a_file_that_is_missing_is_not_opened,
    a_file_opened_for_reading_is_not_written_to,
    a_directory_is_no_file,
    a_rename_takes_the_place_of_another_file,
    a_removed_file_stays_with_those_who_have_it_open,
    names_are_listed_in_order,
    a_directory_is_made_with_those_above_it_and_may_be_there,
    a_lock_is_held_once_and_ends_when_it_is_dropped,
    a_lock_file_says_who_holds_it,
    what_was_synced_and_forgotten_is_read_again,
    what_was_synced_and_forgotten_in_part_is_read_again,
    what_was_released_is_still_there,
    the_uptime_never_goes_back,
    chance_fills_all_the_bytes,
);

fn what_was_written_is_read(io: &dyn Io, dir: &Path) {
    let file = io.create(&dir.join("a")).unwrap();

    file.write_at(b"hello world", 0).unwrap();
    file.write_at(b"W", 6).unwrap();

    let mut read = [0; 5];
    file.read_at(&mut read, 6).unwrap();
    assert_eq!(&read, b"World");
    assert_eq!(file.size().unwrap(), 11);
    assert_eq!(io.open(&dir.join("a")).unwrap().bytes(0..11).unwrap(), "hello World");
}

fn a_write_behind_the_end_fills_the_gap_with_zeros(io: &dyn Io, dir: &Path) {
    let file = io.create(&dir.join("a")).unwrap();

    file.write_at(b"x", 2_000).unwrap();

    let bytes = file.bytes(0..2_001).unwrap();
    assert!(bytes[..2_000].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[2_000], b'x');
}

fn a_read_beyond_the_end_is_an_error(io: &dyn Io, dir: &Path) {
    let file = io.create(&dir.join("a")).unwrap();
    file.write_at(b"abc", 0).unwrap();

    let read = file.read_at(&mut [0; 2], 2).unwrap_err();
    let bytes = file.bytes(2..4).unwrap_err();
    let far = file.bytes(0..u64::MAX / 2).unwrap_err();

    assert_eq!(read.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(bytes.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(far.kind(), ErrorKind::UnexpectedEof);
}

fn no_bytes_are_there_up_to_the_end_and_not_beyond(io: &dyn Io, dir: &Path) {
    let file = io.create(&dir.join("a")).unwrap();
    file.write_at(b"abc", 0).unwrap();

    assert!(file.bytes(3..3).unwrap().is_empty());
    assert_eq!(file.bytes(4..4).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

fn a_file_that_is_cut_and_grown_again_shows_zeros(io: &dyn Io, dir: &Path) {
    let file = io.create(&dir.join("a")).unwrap();
    file.write_at(&[7; 1_500], 0).unwrap();

    file.set_size(700).unwrap();
    file.set_size(1_500).unwrap();

    let bytes = file.bytes(0..1_500).unwrap();
    assert_eq!(&bytes[..700], [7; 700]);
    assert_eq!(&bytes[700..], [0; 800]);
}

fn bytes_stay_readable_while_the_file_grows(io: &dyn Io, dir: &Path) {
    let file = io.create(&dir.join("a")).unwrap();
    file.write_at(&[1; 5_000], 0).unwrap();
    let before = file.bytes(4_000..5_000).unwrap();

    file.write_at(&[2; 10_000], 5_000).unwrap();
    let after = file.bytes(4_999..15_000).unwrap();

    assert_eq!(before, [1; 1_000].as_slice());
    assert_eq!(after[0], 1);
    assert_eq!(&after[1..], [2; 10_000]);
}

fn bytes_outlive_the_file(io: &dyn Io, dir: &Path) {
    let path = dir.join("a");
    let file = io.create(&path).unwrap();
    file.write_at(b"kept", 0).unwrap();
    let bytes = file.bytes(1..4).unwrap();

    drop(file);
    io.remove(&path).unwrap();

    assert_eq!(bytes, "ept");
}

fn a_name_is_given_once(io: &dyn Io, dir: &Path) {
    let path = dir.join("a");
    io.create(&path).unwrap().write_at(b"first", 0).unwrap();

    let again = io.create(&path).unwrap_err();

    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(io.open(&path).unwrap().size().unwrap(), 5);
}

fn a_file_that_is_missing_is_not_opened(io: &dyn Io, dir: &Path) {
    let missing = dir.join("missing");

    assert_eq!(io.open(&missing).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(io.open_writable(&missing).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(io.remove(&missing).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(io.list(&missing).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(io.sync_dir(&missing).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(io.rename(&missing, &dir.join("b")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(io.create(&missing.join("a")).unwrap_err().kind(), ErrorKind::NotFound);
}

fn a_file_opened_for_reading_is_not_written_to(io: &dyn Io, dir: &Path) {
    let path = dir.join("a");
    io.create(&path).unwrap().write_at(b"abc", 0).unwrap();
    let file = io.open(&path).unwrap();

    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.set_size(0).is_err());

    assert_eq!(file.bytes(0..3).unwrap(), "abc");
}

fn a_directory_is_no_file(io: &dyn Io, dir: &Path) {
    assert_eq!(io.open(dir).unwrap_err().kind(), ErrorKind::IsADirectory);
    assert_eq!(io.open_writable(dir).unwrap_err().kind(), ErrorKind::IsADirectory);
    assert!(io.remove(dir).is_err());
}

fn a_rename_takes_the_place_of_another_file(io: &dyn Io, dir: &Path) {
    let (old, new) = (dir.join("file"), dir.join("file.new"));
    io.create(&old).unwrap().write_at(b"old", 0).unwrap();
    let reader = io.open(&old).unwrap();
    io.create(&new).unwrap().write_at(b"young", 0).unwrap();

    io.rename(&new, &old).unwrap();

    assert_eq!(io.list(dir).unwrap(), ["file"]);
    assert_eq!(io.open(&old).unwrap().bytes(0..5).unwrap(), "young");
    assert_eq!(reader.bytes(0..3).unwrap(), "old", "who has it open keeps it");
}

fn a_removed_file_stays_with_those_who_have_it_open(io: &dyn Io, dir: &Path) {
    let path = dir.join("a");
    let file = io.create(&path).unwrap();

    io.remove(&path).unwrap();
    io.sync_dir(dir).unwrap();
    file.write_at(b"still", 0).unwrap();

    assert!(io.list(dir).unwrap().is_empty());
    assert_eq!(file.bytes(0..5).unwrap(), "still");
}

fn names_are_listed_in_order(io: &dyn Io, dir: &Path) {
    for name in ["b", "a-1", "c"] {
        io.create(&dir.join(name)).unwrap();
    }
    io.create_dir(&dir.join("a")).unwrap();
    io.create(&dir.join("a/inside")).unwrap();

    assert_eq!(io.list(dir).unwrap(), ["a", "a-1", "b", "c"]);
    assert_eq!(io.list(&dir.join("a")).unwrap(), ["inside"]);
}

fn a_directory_is_made_with_those_above_it_and_may_be_there(io: &dyn Io, dir: &Path) {
    let deep = dir.join("x/y/z");

    io.create_dir(&deep).unwrap();
    io.create_dir(&deep).unwrap();

    io.create(&deep.join("file")).unwrap();
    assert_eq!(io.list(&deep).unwrap(), ["file"]);
    assert!(io.create_dir(&deep.join("file")).is_err(), "a file is no directory");
    assert!(io.create_dir(&deep.join("file/below")).is_err());
}

fn a_lock_is_held_once_and_ends_when_it_is_dropped(io: &dyn Io, dir: &Path) {
    let path = dir.join("LOCK");
    let lock = io.lock(&path).unwrap();

    assert_eq!(io.lock(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(lock);

    io.lock(&path).unwrap();
}

fn a_lock_file_says_who_holds_it(io: &dyn Io, dir: &Path) {
    let path = dir.join("LOCK");
    let lock = io.lock(&path).unwrap();

    lock.describe("a holder with a long name").unwrap();
    lock.describe("pid 7").unwrap();

    assert_eq!(io.open(&path).unwrap().bytes(0..5).unwrap(), "pid 7");
    assert_eq!(io.open(&path).unwrap().size().unwrap(), 5);
}

fn what_was_synced_and_forgotten_is_read_again(io: &dyn Io, dir: &Path) {
    let file = io.create(&dir.join("a")).unwrap();
    file.write_at(&[9; 10_000], 0).unwrap();
    let before = file.bytes(0..10_000).unwrap();

    file.sync().unwrap();
    file.forget(0).unwrap();

    assert_eq!(file.bytes(0..10_000).unwrap(), before);
}

fn what_was_synced_and_forgotten_in_part_is_read_again(io: &dyn Io, dir: &Path) {
    let file = io.create(&dir.join("a")).unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    file.write_at(&bytes, 0).unwrap();
    file.sync().unwrap();

    for offset in [1, 4_095, 70_000, 299_999, 300_000, 1 << 40] {
        file.forget(offset).unwrap();

        assert_eq!(file.bytes(0..300_000).unwrap(), bytes, "from {offset} on");
    }
}

fn what_was_released_is_still_there(io: &dyn Io, dir: &Path) {
    let file = io.create(&dir.join("a")).unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    file.write_at(&bytes, 0).unwrap();
    let held = file.bytes(0..300_000).unwrap();

    for range in [0..300_000, 5_000..200_001, 299_999..400_000, 7..7] {
        file.release(range.clone());

        assert_eq!(held, bytes, "{range:?}");
        assert_eq!(file.bytes(100..250_000).unwrap(), bytes[100..250_000], "{range:?}");
    }
}

fn the_uptime_never_goes_back(io: &dyn Io, _dir: &Path) {
    let before = io.uptime();

    assert!(io.uptime() >= before);
}

fn chance_fills_all_the_bytes(io: &dyn Io, _dir: &Path) {
    let (mut one, mut other) = ([0; 37], [0; 37]);

    io.randomize(&mut one);
    io.randomize(&mut other);

    assert_ne!(one, other);
    assert_ne!(one[32..], [0; 5], "the last bytes are filled too");
}
