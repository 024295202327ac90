//! Hostile images: damaged file systems, partition tables that lie, files that change while mounted.

use crate::canary::Canary;
use crate::cases::{Tally, config, places, survived};
use crate::common::*;
use crate::shape::{SHAPES, Shape, put};
use std::fs;

/// Unmounts `m`. A child that another test is about to execute may hold a file in it for a moment.
const UNMOUNT: &str = "i=0; until umount m 2>err; do i=$((i + 1)); [ $i -lt 100 ] || { cat err >&2; exit 1; }; sleep 0.05; done";

#[test]
fn hostile_places_in_an_image() {
    if !need_fs("ext4") {
        return;
    }
    sandbox(|s| {
        s.host("mkdir data m; echo data >data/file");
        let w = s.image("w", "ext4", &config(s));
        fs::rename(w.path("w.img"), s.base.join("kept.img")).unwrap();
        let canary = Canary::new(s);
        let mut tally = Tally::default();
        for (place, shape) in places(2, 16) {
            s.host("cp --sparse=always kept.img opt/w/w.img; mount -o loop opt/w/w.img m");
            put(&s.base.join("m/root"), place, shape, &canary.dir);
            s.host(UNMOUNT);
            eventually("its loop device is gone", || {
                !s.test("losetup -nlO BACK-FILE | grep -q $PWD")
            });
            let before = s.snapshot();
            let case = format!("{place} {shape:?}");
            let object = place.split('/').next().unwrap();
            tally.count(&case, survived(s, &canary, &before, object));
        }
        tally.holds();
    });
}

/// The directories `root` and `work` of an image are something else.
#[test]
fn hostile_tops_of_an_image() {
    if !need_fs("ext4") {
        return;
    }
    sandbox(|s| {
        s.host("mkdir m");
        let layer = s.layer("base");
        let w = s.image("w", "ext4", "");
        fs::rename(w.path("w.img"), s.base.join("kept.img")).unwrap();
        let canary = Canary::new(s);
        fs::create_dir(canary.dir.join("root")).unwrap();
        fs::create_dir(canary.dir.join("work")).unwrap();
        canary.watch(&canary.dir.join("root"));
        canary.watch(&canary.dir.join("work"));
        let mut wrong = String::new();
        for (number, lower) in [String::new(), setting("LOWER", &[layer])]
            .iter()
            .enumerate()
        {
            w.config(lower);
            let all = ["root", "work"]
                .iter()
                .flat_map(|place| SHAPES.iter().map(move |shape| (*place, *shape)));
            for (place, shape) in all.skip(number).step_by(rounds(6, 1)) {
                s.host("cp --sparse=always kept.img opt/w/w.img; mount -o loop opt/w/w.img m");
                put(&s.base.join("m"), place, shape, &canary.dir);
                s.host(UNMOUNT);
                eventually("its loop device is gone", || {
                    !s.test("losetup -nlO BACK-FILE | grep -q $PWD")
                });
                let before = s.snapshot();
                if let Err(what) = survived(s, &canary, &before, place) {
                    wrong += &format!("--- {place} {shape:?} {lower}\n{what}");
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    });
}

/// Returns pseudo-random bytes, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Returns `bytes` with `others` written at `at`.
fn with(mut bytes: Vec<u8>, at: usize, others: &[u8]) -> Vec<u8> {
    let end = at + others.len();
    bytes.resize(bytes.len().max(end), 0);
    bytes[at..end].copy_from_slice(others);
    bytes
}

/// Returns a boot record with these entries: type, first sector, number of sectors.
fn mbr(entries: &[(u8, u32, u32)]) -> Vec<u8> {
    let mut bytes = with(vec![0; 1 << 16], 510, &[0x55, 0xaa]);
    for (number, (kind, first, sectors)) in entries.iter().enumerate() {
        let at = 446 + 16 * number;
        bytes[at + 4] = *kind;
        bytes = with(bytes, at + 8, &first.to_le_bytes());
        bytes = with(bytes, at + 12, &sectors.to_le_bytes());
    }
    bytes
}

/// Returns a GPT whose table is at sector `table` and has `count` entries of `size` bytes, with one entry: first and
/// last sector.
fn gpt(table: u64, count: u32, size: u32, entry: (u64, u64)) -> Vec<u8> {
    let bytes = with(
        mbr(&[(0xee, 1, u32::MAX)]),
        512,
        b"EFI PART\0\0\x01\0\x5c\0\0\0",
    );
    let bytes = with(bytes, 584, &table.to_le_bytes());
    let bytes = with(bytes, 592, &count.to_le_bytes());
    let bytes = with(bytes, 596, &size.to_le_bytes());
    let bytes = with(bytes, 1024, &[7; 32]);
    let bytes = with(bytes, 1056, &entry.0.to_le_bytes());
    with(bytes, 1064, &entry.1.to_le_bytes())
}

/// Returns damaged images: a name, the bytes, and lines of the config.
fn lies(good: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let zeros = |length| vec![0; length];
    let noisy = || noise(1 << 20);
    let good = || good.to_vec();
    let ext4 = |at: usize, bytes: &[u8]| with(good(), 1024 + at, bytes);
    let first = "IMAGE_PARTITION=1\n";
    let fifth = "IMAGE_PARTITION=5\n";
    vec![
        ("empty", vec![], ""),
        ("empty, as ext4", vec![], "IMAGE_FSTYPE=ext4\n"),
        ("one byte", vec![0x55], ""),
        ("zeros", zeros(1 << 20), ""),
        ("zeros, as xfs", zeros(1 << 20), "IMAGE_FSTYPE=xfs\n"),
        ("noise", noisy(), ""),
        ("noise, as ext4", noisy(), "IMAGE_FSTYPE=ext4\n"),
        ("noise, as proc", noisy(), "IMAGE_FSTYPE=proc\n"),
        ("noise, as overlay", noisy(), "IMAGE_FSTYPE=overlay\n"),
        (
            "noise, as nothing known",
            noisy(),
            "IMAGE_FSTYPE=nosuchfs\n",
        ),
        ("noise, as a path", noisy(), "IMAGE_FSTYPE=../../etc\n"),
        (
            "noise with the magic of ext4",
            with(noisy(), 0x438, &[0x53, 0xef]),
            "",
        ),
        (
            "noise with the magic of squashfs",
            with(noisy(), 0, b"hsqs"),
            "",
        ),
        ("noise with the magic of xfs", with(noisy(), 0, b"XFSB"), ""),
        (
            "noise with the magic of erofs",
            with(noisy(), 0x400, &[0xe2, 0xe1, 0xf5, 0xe0]),
            "",
        ),
        (
            "noise with the magic of f2fs",
            with(noisy(), 0x400, &[0x10, 0x20, 0xf5, 0xf2]),
            "",
        ),
        (
            "noise with the magic of iso9660",
            with(noisy(), 0x8001, b"CD001"),
            "",
        ),
        (
            "noise with the magic of btrfs",
            with(noisy(), 0x10040, b"_BHRfS_M"),
            "",
        ),
        ("a superblock alone", good()[..2048].to_vec(), ""),
        ("a superblock cut in half", good()[..1500].to_vec(), ""),
        ("a half", good()[..good().len() / 2].to_vec(), ""),
        (
            "all but the last byte",
            good()[..good().len() - 1].to_vec(),
            "",
        ),
        ("more blocks than the file has", ext4(4, &[0xff; 4]), ""),
        ("no blocks", ext4(4, &[0; 4]), ""),
        ("no inodes", ext4(0, &[0; 4]), ""),
        ("blocks of 2^200 bytes", ext4(0x18, &[200, 0, 0, 0]), ""),
        ("unknown features", ext4(0x60, &[0xff; 4]), ""),
        ("no blocks in a group", ext4(0x20, &[0; 4]), ""),
        (
            "group descriptors of noise",
            with(good(), 4096, &noise(4096)),
            "",
        ),
        (
            "the first inodes of noise",
            with(good(), 1 << 20, &noise(1 << 20)),
            "",
        ),
        (
            "options of noise",
            good(),
            "IMAGE_OPTIONS='%s,=,=x,\u{1}'\n",
        ),
        (
            "an option that is none",
            good(),
            "IMAGE_OPTIONS=nosuchoption\n",
        ),
        (
            "an offset of its own",
            good(),
            "IMAGE_OPTIONS=loop,offset=4096\n",
        ),
        ("long options", good(), "IMAGE_OPTIONS=LONG\n"),
        ("no table", zeros(1 << 20), first),
        (
            "no partition of this number",
            mbr(&[(0x83, 1, 8)]),
            "IMAGE_PARTITION=128\n",
        ),
        ("a partition of zeros", mbr(&[(0x83, 1, 8)]), first),
        (
            "a partition beyond the end",
            mbr(&[(0x83, 1, u32::MAX)]),
            first,
        ),
        (
            "a partition far beyond the end",
            mbr(&[(0x83, u32::MAX, u32::MAX)]),
            first,
        ),
        (
            "a partition that holds its table",
            mbr(&[(0x83, 0, 128)]),
            first,
        ),
        (
            "partitions over each other",
            mbr(&[(0x83, 1, 99), (0x83, 2, 9)]),
            "IMAGE_PARTITION=2\n",
        ),
        ("an extended one in itself", mbr(&[(0x05, 0, 128)]), fifth),
        (
            "a circle of extended ones",
            {
                let link = with(mbr(&[(0x83, 1, 1), (0x05, 0, 9)]), 0, &[]);
                with(
                    mbr(&[(0x05, 2, 99)]),
                    1024,
                    &with(link, 446 + 24, &1_u32.to_le_bytes())[..512],
                )
            },
            fifth,
        ),
        (
            "four circles of extended ones",
            mbr(&[(5, 0, 1), (15, 0, 1), (0x85, 0, 1), (5, 0, 1)]),
            fifth,
        ),
        (
            "a chain to far beyond the end",
            mbr(&[(5, u32::MAX, 9)]),
            fifth,
        ),
        (
            "a GPT of 2^32-1 entries",
            gpt(2, u32::MAX, 128, (3, 9)),
            "IMAGE_PARTITION=128\n",
        ),
        ("a GPT of no entries", gpt(2, 0, 128, (3, 9)), first),
        ("entries of no bytes", gpt(2, 128, 0, (3, 9)), first),
        ("entries of 2^31 bytes", gpt(2, 128, 1 << 31, (3, 9)), first),
        (
            "a table at the end of all",
            gpt(u64::MAX, 128, 128, (3, 9)),
            first,
        ),
        (
            "a table at the end of all but one",
            gpt(u64::MAX / 512, 128, 128, (3, 9)),
            first,
        ),
        ("a table over its header", gpt(1, 128, 128, (3, 9)), first),
        ("a GPT with no checksum", gpt(2, 128, 128, (3, 9)), first),
        (
            "an entry that ends before it begins",
            gpt(2, 128, 128, (9, 3)),
            first,
        ),
        (
            "an entry beyond the end",
            gpt(2, 128, 128, (3, u64::MAX)),
            first,
        ),
        (
            "an entry from the end of all on",
            gpt(2, 128, 128, (u64::MAX, u64::MAX)),
            first,
        ),
        ("an entry of all", gpt(2, 128, 128, (0, u64::MAX)), first),
    ]
}

/// Mounts and stops `name` writable, READ_ONLY and VOLATILE. Each mount works or is refused with a message about
/// `object`, and nothing is left. Returns whether one worked, or what is wrong.
fn tried(s: &Sandbox, before: &Snapshot, name: &str, object: &str) -> Result<bool, String> {
    let mut wrong = String::new();
    let mut works = false;
    for set in ["X_A=", "READ_ONLY=yes", "VOLATILE=yes"] {
        let mount = s
            .tool(&format!("subhost-mount --set {set} {name}"))
            .limit(10)
            .run();
        let stop = s
            .tool(&format!("subhost-stop --sync {name}"))
            .limit(10)
            .run();
        works |= mount.code == 0;
        let told = [object, "IMAGE_FSTYPE"]
            .iter()
            .any(|o| mount.stderr.contains(o));
        let told = mount.code == 0 || told;
        if ![0, 1, 5].contains(&mount.code) || !told || mount.stderr.contains("panicked") {
            wrong += &format!("{mount}");
        }
        let diff = before.diff(&s.snapshot());
        if stop.code != 0 || !diff.is_empty() {
            wrong += &format!("{stop}\n{diff}");
        }
    }
    match wrong.is_empty() {
        true => Ok(works),
        false => Err(wrong),
    }
}

#[test]
fn images_that_lie() {
    if !need_fs("ext4") {
        return;
    }
    sandbox(|s| {
        let w = s.image("w", "ext4", "");
        let image = w.path("w.img");
        let good = fs::read(&image).unwrap();
        let before = s.snapshot();
        let mut tally = Tally::default();
        for (case, bytes, config) in lies(&good) {
            fs::write(&image, bytes).unwrap();
            w.config(&config.replace("LONG", &"x".repeat(5000)));
            tally.count(case, tried(s, &before, "w", "w.img"));
        }
        println!("{} cases, {} work", tally.cases, tally.works);
        assert!(tally.wrong.is_empty(), "{}", tally.wrong);
    });
}

#[test]
fn images_that_are_no_files() {
    sandbox(|s| {
        let w = s.bare("w", "");
        let canary = Canary::new(s);
        fs::create_dir(canary.dir.join("w.img")).unwrap();
        let before = s.snapshot();
        let mut tally = Tally::default();
        for shape in SHAPES {
            put(&w.dir, "w.img", *shape, &canary.dir);
            for config in [
                "IMAGE=w.img\n",
                "IMAGE=w.img\nIMAGE_FSTYPE=ext4\n",
                "LOWER=w.img\n",
            ] {
                w.config(config);
                w.mkdir("root");
                canary.events();
                // A message names the target of a symlink.
                let object = match shape {
                    Shape::To(_) => ": w: ",
                    _ => "w.img",
                };
                let outcome = tried(s, &before, "w", object);
                let events = canary.events();
                let outcome = match events.is_empty() {
                    true => outcome,
                    false => Err(format!("the host was touched: {events:?}")),
                };
                tally.count(&format!("{shape:?} {config}"), outcome);
            }
        }
        println!("{} cases, {} work", tally.cases, tally.works);
        assert!(tally.wrong.is_empty(), "{}", tally.wrong);
    });
}

/// A stop works whatever happens to the image's file meanwhile.
#[test]
fn an_image_that_changes_while_it_is_mounted() {
    if !need_fs("ext4") {
        return;
    }
    sandbox(|s| {
        s.image("w", "ext4", "RUN='/bin/sleep 1000'\n");
        let before = s.snapshot();
        s.host("cp --sparse=always opt/w/w.img kept.img");
        for change in [
            "truncate -s 1M opt/w/w.img",
            "truncate -s 0 opt/w/w.img",
            "dd if=/dev/zero of=opt/w/w.img bs=1M count=24 conv=notrunc status=none",
            "rm opt/w/w.img",
            "mv opt/w/w.img old.img",
        ] {
            s.tool("subhost-start w").silent();
            s.host(change);
            // The files may be gone: the command may fail, but must end.
            s.enter("w", "echo x >/root/x; sync").limit(10).run();
            let stop = s.tool("subhost-stop --sync w").limit(10).run();
            assert_eq!(stop.code, 0, "{change}: {stop}");
            s.host("rm -rf opt/w/w.img; cp --sparse=always kept.img opt/w/w.img");
            s.assert_same_now(&before);
        }
    });
}
