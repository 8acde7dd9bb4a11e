//! What the simulated disk loses, keeps and refuses.

use super::*;

const DIR: &str = "/dir";

fn disk() -> SimDisk {
    let disk = SimDisk::new(7);
    disk.create_dir(Path::new(DIR)).unwrap();
    disk
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A file whose name and bytes are durable.
fn synced(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = disk.create(&path(name)).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    file
}

#[test]
fn a_crash_loses_what_was_not_synced() {
    let disk = disk();
    let file = synced(&disk, "a", &[1; 2_000]);
    file.write_at(&[2; 1_000], 500).unwrap();

    let found = disk.crash(CrashPolicy::LoseAll);

    assert_eq!(found.contents(&path("a")).unwrap(), [1; 2_000]);
}

#[test]
fn a_crash_may_keep_what_was_not_synced() {
    let disk = disk();
    let file = synced(&disk, "a", &[1; 2_000]);
    file.write_at(&[2; 1_000], 1_500).unwrap();

    let found = disk.crash(CrashPolicy::KeepAll);

    let contents = found.contents(&path("a")).unwrap();
    assert_eq!(contents[..1_500], [1; 1_500]);
    assert_eq!(contents[1_500..], [2; 1_000]);
}

#[test]
fn a_crash_never_touches_what_was_synced() {
    for seed in 0..500 {
        let disk = disk();
        let file = synced(&disk, "a", &[1; 4_096]);
        file.write_at(&[2; 512], 1_024).unwrap();

        let found = disk.crash(CrashPolicy::Random(seed)).contents(&path("a")).unwrap();

        assert_eq!(found.len(), 4_096, "seed {seed}");
        assert!(found[..1_024].iter().chain(&found[1_536..]).all(|byte| *byte == 1), "seed {seed}");
    }
}

#[test]
fn a_random_crash_keeps_loses_and_tears_sectors() {
    let [mut kept, mut lost, mut torn] = [0; 3];
    for seed in 0..500 {
        let disk = disk();
        let file = synced(&disk, "a", &[1; 2_048]);
        file.write_at(&[2; 2_048], 0).unwrap();

        let found = disk.crash(CrashPolicy::Random(seed)).contents(&path("a")).unwrap();

        for sector in found.chunks(512) {
            match sector.iter().map(|byte| usize::from(*byte == 2)).sum() {
                0 => lost += 1,
                512 => kept += 1,
                _ => torn += 1,
            }
        }
    }
    assert!(kept > 200 && lost > 200 && torn > 50, "{kept} kept, {lost} lost, {torn} torn");
}

#[test]
fn growth_that_was_not_synced_is_lost_kept_or_full_of_zeros() {
    let [mut lost, mut kept, mut zeros] = [0; 3];
    for seed in 0..500 {
        let disk = disk();
        let file = synced(&disk, "a", &[1; 512]);
        file.write_at(&[2; 512], 512).unwrap();

        let found = disk.crash(CrashPolicy::Random(seed)).contents(&path("a")).unwrap();

        assert_eq!(found[..512], [1; 512], "seed {seed}");
        match &found[512..] {
            [] => lost += 1,
            rest if rest.iter().all(|byte| *byte == 2) => kept += 1,
            rest if rest.iter().all(|byte| *byte == 0) => zeros += 1,
            _ => {}
        }
    }
    assert!(lost > 50 && kept > 50 && zeros > 50, "{lost} lost, {kept} kept, {zeros} zeros");
}

#[test]
fn a_cut_that_was_not_synced_may_be_taken_back() {
    let disk = disk();
    let file = synced(&disk, "a", &[1; 2_000]);
    file.set_size(100).unwrap();

    assert_eq!(disk.fork().crash(CrashPolicy::LoseAll).contents(&path("a")).unwrap().len(), 2_000);
    assert_eq!(disk.fork().crash(CrashPolicy::KeepAll).contents(&path("a")).unwrap().len(), 100);
}

#[test]
fn a_file_is_lost_with_its_name() {
    let disk = disk();
    let file = disk.create(&path("a")).unwrap();
    file.write_at(b"abc", 0).unwrap();
    file.sync().unwrap();

    assert!(disk.crash(CrashPolicy::LoseAll).files().is_empty());
}

/// The mistake that the simulation is most often right about: a rename is atomic, but it says
/// nothing about the bytes of the file that is renamed.
#[test]
fn a_rename_may_reach_the_disk_before_the_bytes() {
    let disk = disk();
    synced(&disk, "a", b"old");
    disk.create(&path("a.new")).unwrap().write_at(b"young", 0).unwrap();
    disk.rename(&path("a.new"), &path("a")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();

    let found = disk.crash(CrashPolicy::LoseAll);

    assert_eq!(found.contents(&path("a")).unwrap(), b"");
}

#[test]
fn a_rename_is_kept_whole_or_lost_whole() {
    let [mut kept, mut lost] = [0; 2];
    for seed in 0..200 {
        let disk = disk();
        synced(&disk, "a", b"old");
        synced(&disk, "a.new", b"young");
        disk.rename(&path("a.new"), &path("a")).unwrap();

        let found = disk.crash(CrashPolicy::Random(seed));

        match found.contents(&path("a")).unwrap().as_slice() {
            b"young" => {
                assert!(found.contents(&path("a.new")).is_none(), "seed {seed}");
                kept += 1;
            }
            bytes => {
                assert_eq!(bytes, b"old", "seed {seed}");
                assert_eq!(found.contents(&path("a.new")).unwrap(), b"young", "seed {seed}");
                lost += 1;
            }
        }
    }
    assert!(kept > 30 && lost > 30, "{kept} kept, {lost} lost");
}

#[test]
fn of_two_new_names_the_later_one_alone_may_be_kept() {
    let later_alone = (0..200).any(|seed| {
        let disk = disk();
        disk.create(&path("first")).unwrap();
        disk.create(&path("second")).unwrap();

        disk.crash(CrashPolicy::Random(seed)).files() == [path("second")]
    });

    assert!(later_alone);
}

#[test]
fn a_removed_file_may_come_back() {
    let disk = disk();
    synced(&disk, "a", b"abc");
    disk.remove(&path("a")).unwrap();

    assert_eq!(disk.fork().crash(CrashPolicy::LoseAll).contents(&path("a")).unwrap(), b"abc");
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert!(disk.crash(CrashPolicy::LoseAll).files().is_empty());
}

#[test]
fn every_outcome_of_a_short_run_can_be_gone_through() {
    let disk = disk();
    let file = synced(&disk, "a", &[1; 1_024]);
    file.write_at(&[2; 1_024], 0).unwrap();
    disk.create(&path("b")).unwrap();
    let count = disk.undecided();

    let mut outcomes: Vec<_> = (0..1 << count)
        .map(|bits| {
            let found = disk.fork().crash(CrashPolicy::Exactly(bits));
            let bytes = found.contents(&path("a")).unwrap();
            (found.files().len(), bytes[0], bytes[512])
        })
        .collect();

    assert_eq!(count, 3);
    outcomes.sort_unstable();
    outcomes.dedup();
    assert_eq!(outcomes.len(), 8);
}

#[test]
fn a_killed_process_leaves_all_it_wrote_and_nothing_durable() {
    let disk = disk();
    let file = disk.create(&path("a")).unwrap();
    file.write_at(b"abc", 0).unwrap();
    let lock = disk.lock(&path("LOCK")).unwrap();

    let found = disk.process_death();

    assert!(SimDisk::is_dead(&file.write_at(b"x", 0).unwrap_err()));
    assert!(SimDisk::is_dead(&disk.open(&path("a")).unwrap_err()));
    assert_eq!(found.contents(&path("a")).unwrap(), b"abc");
    found.lock(&path("LOCK")).unwrap();
    drop(lock);
    assert!(found.crash(CrashPolicy::LoseAll).files().is_empty());
}

#[test]
fn from_the_chosen_call_on_the_process_is_dead() {
    let disk = disk();
    let file = synced(&disk, "a", b"abc");
    disk.crash_at(disk.calls() + 2);

    file.write_at(b"x", 0).unwrap();
    let second = file.write_at(b"y", 1).unwrap_err();
    let third = file.read_at(&mut [0], 0).unwrap_err();

    assert!(SimDisk::is_dead(&second) && SimDisk::is_dead(&third));
    assert!(disk.is_crashed());
    let found = disk.crash(CrashPolicy::LoseAll);
    assert_eq!(found.contents(&path("a")).unwrap(), b"abc");
    assert_eq!(found.calls(), 0);
    found.open_writable(&path("a")).unwrap().write_at(b"z", 0).unwrap();
}

#[test]
fn the_chosen_call_fails_once() {
    let disk = disk();
    let file = synced(&disk, "a", b"abc");
    disk.fail_at(disk.calls() + 1, Fault::Device);

    let failed = file.set_size(1).unwrap_err();
    file.set_size(2).unwrap();

    assert_eq!(failed.raw_os_error(), Some(5));
    assert_eq!(file.size().unwrap(), 2);
}

#[test]
fn a_short_write_leaves_a_beginning() {
    let sizes: Vec<_> = (0..50)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            let file = disk.create(Path::new("/a")).unwrap();
            disk.fail_at(disk.calls() + 1, Fault::ShortWrite);
            file.write_at(&[1; 100], 0).unwrap_err();
            file.size().unwrap()
        })
        .collect();

    assert!(sizes.iter().any(|size| *size > 0) && sizes.iter().all(|size| *size <= 100));
}

/// A store that calls sync again after it failed, and believes the second answer, loses events
/// that it acknowledged, and nobody notices until the memory is dropped.
#[test]
fn what_a_failed_sync_gave_up_is_shown_and_never_written() {
    let mut given_up = 0;
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let file = disk.create(Path::new("/a")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_at(&[1; 512], 0).unwrap();
        file.sync().unwrap();
        file.write_at(&[2; 512], 0).unwrap();
        disk.fail_at(disk.calls() + 1, Fault::Device);

        file.sync().unwrap_err();
        file.sync().unwrap();

        assert_eq!(disk.contents(Path::new("/a")).unwrap(), [2; 512], "seed {seed}");
        if disk.durable_contents(Path::new("/a")).unwrap() == [1; 512] {
            given_up += 1;
            file.forget(0).unwrap();
            assert_eq!(disk.contents(Path::new("/a")).unwrap(), [1; 512], "seed {seed}");
        }
    }
    assert!(given_up > 10, "{given_up} given up");
}

#[test]
fn what_is_written_again_after_a_failed_sync_is_synced() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let file = disk.create(Path::new("/a")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_at(&[1; 700], 0).unwrap();
        disk.fail_at(disk.calls() + 1, Fault::Device);
        file.sync().unwrap_err();

        file.write_at(&[1; 700], 0).unwrap();
        file.sync().unwrap();

        let found = disk.crash(CrashPolicy::LoseAll);
        assert_eq!(found.contents(Path::new("/a")).unwrap(), [1; 700], "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_new_sectors_and_takes_old_ones() {
    let disk = disk();
    let file = synced(&disk, "a", &[1; 1_024]);
    disk.set_free_space(Some(1_024));

    let refused = file.write_at(&[2; 4_096], 0).unwrap_err();
    file.write_at(&[3; 1_024], 0).unwrap();
    let no_name = disk.create(&path("b")).unwrap_err();

    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert_eq!(no_name.kind(), ErrorKind::StorageFull);
    assert_eq!(file.size().unwrap(), 2_048, "what fitted is there");
    disk.set_free_space(None);
    file.write_at(&[2; 4_096], 0).unwrap();
}

#[test]
fn space_comes_back_with_the_last_trace_of_a_file() {
    let disk = disk();
    drop(synced(&disk, "ballast", &[1; 10_240]));
    let file = synced(&disk, "a", b"");
    disk.set_free_space(Some(0));
    file.write_at(b"x", 0).unwrap_err();

    disk.remove(&path("ballast")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();

    file.write_at(&[1; 10_240], 0).unwrap();
    file.write_at(b"x", 10_240).unwrap_err();
}

#[test]
fn a_hole_takes_no_space_until_it_is_written_to() {
    let disk = disk();
    let file = synced(&disk, "a", b"");
    disk.set_free_space(Some(512));

    file.set_size(1 << 20).unwrap();

    assert_eq!(disk.used_space(), 0);
    assert!(file.write_at(&[1; 1_024], 4_096).is_err());
}

#[test]
fn damage_is_on_the_disk_and_in_memory() {
    let disk = disk();
    synced(&disk, "a", b"abc");

    disk.flip_bit(&path("a"), 1, 0);
    disk.overwrite(&path("a"), 2, b"z");

    assert_eq!(disk.contents(&path("a")).unwrap(), b"acz");
    assert_eq!(disk.crash(CrashPolicy::LoseAll).contents(&path("a")).unwrap(), b"acz");
}

#[test]
fn a_lying_disk_loses_what_it_said_was_synced() {
    let disk = disk();
    disk.seed_bug(SeededBug::SkipDirectorySync);
    synced(&disk, "a", b"abc");
    assert!(disk.crash(CrashPolicy::LoseAll).files().is_empty());

    let disk = self::disk();
    disk.ignore_syncs(".log");
    synced(&disk, "a.log", b"abc");
    synced(&disk, "b", b"abc");
    let found = disk.crash(CrashPolicy::LoseAll);
    assert_eq!(found.contents(&path("a.log")).unwrap(), b"");
    assert_eq!(found.contents(&path("b")).unwrap(), b"abc");
}

#[test]
fn the_clock_goes_only_as_it_is_told() {
    let disk = disk();
    let first = disk.now();

    assert_eq!(disk.now(), first.plus(Duration::from_micros(1)));
    disk.set_clock_step(Duration::ZERO);
    let uptime = disk.uptime();
    disk.advance(Duration::from_hours(1));
    assert_eq!(disk.uptime(), uptime + Duration::from_hours(1));
    disk.set_now(Timestamp::from_micros(5));
    assert_eq!(disk.now(), Timestamp::from_micros(5));
    assert_eq!(disk.uptime(), uptime + Duration::from_hours(1), "the wall clock alone jumped");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = || {
        let disk = disk();
        let file = synced(&disk, "a", &[0; 4_096]);
        for number in 0..20 {
            let mut bytes = [0; 600];
            disk.randomize(&mut bytes);
            file.write_at(&bytes, number * 300).unwrap();
        }
        disk.record_calls();
        disk.fail_at(disk.calls() + 1, Fault::Device);
        file.sync().unwrap_err();
        let calls = disk.recorded_calls();
        (calls, disk.crash(CrashPolicy::Random(3)).contents(&path("a")).unwrap())
    };

    let (calls, contents) = run();

    assert_eq!(calls, ["sync /dir/a"]);
    assert_eq!(run(), (calls, contents));
}

/// A process dies between the two steps of making a directory, and the next one finds it made.
#[test]
fn a_directory_survives_although_the_process_that_made_it_died() {
    for seed in 0..20 {
        for call in 1..=4 {
            let disk = SimDisk::new(seed);
            disk.crash_at(call);
            disk.create_dir(Path::new("/a/b")).unwrap_err();

            let disk = disk.process_death();
            disk.create_dir(Path::new("/a/b")).unwrap();
            let found = disk.crash(CrashPolicy::LoseAll);

            assert_eq!(found.list(Path::new("/a")).unwrap(), ["b"], "seed {seed}, call {call}");
        }
    }
}

#[test]
fn a_name_that_a_failed_sync_gave_up_is_synced_by_another_process_only() {
    let [mut lost, mut kept] = [0; 2];
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        disk.create(Path::new("/a")).unwrap();
        disk.fail_at(disk.calls() + 1, Fault::Device);
        disk.sync_dir(Path::new("/")).unwrap_err();
        disk.sync_dir(Path::new("/")).unwrap();

        if disk.fork().crash(CrashPolicy::LoseAll).files().is_empty() {
            lost += 1;
        } else {
            kept += 1;
        }
        let disk = disk.process_death();
        disk.sync_dir(Path::new("/")).unwrap();
        assert_eq!(disk.crash(CrashPolicy::LoseAll).files(), [Path::new("/a")], "seed {seed}");
    }
    assert!(lost > 5 && kept > 5, "{lost} lost, {kept} kept");
}
