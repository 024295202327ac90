//! What is in an image file: partition tables and superblocks. They are hostile input, and read
//! with bounds.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// A sector of partition tables, bytes.
const SECTOR: u64 = 512;

/// The file systems that we know, by where their superblocks keep which bytes.
const SUPERBLOCKS: &[(&str, u64, &[u8])] = &[
    ("squashfs", 0, b"hsqs"),
    ("xfs", 0, b"XFSB"),
    ("erofs", 0x400, &[0xe2, 0xe1, 0xf5, 0xe0]),
    ("ext4", 0x438, &[0x53, 0xef]),
    ("f2fs", 0x400, &[0x10, 0x20, 0xf5, 0xf2]),
    ("iso9660", 0x8001, b"CD001"),
    ("btrfs", 0x10040, b"_BHRfS_M"),
];

/// The type of the file system that begins at `offset`, by its superblock.
pub(super) fn superblock(file: &File, offset: u64) -> Option<&'static str> {
    SUPERBLOCKS.iter().find_map(|(fstype, at, magic)| {
        let mut bytes = vec![0; magic.len()];
        file.read_exact_at(&mut bytes, offset.checked_add(*at)?)
            .ok()?;
        (bytes == *magic).then_some(*fstype)
    })
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// From 1; from 5 the logical ones of an MBR.
    pub number: u32,
    /// Bytes.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// The partitions of a GPT (UEFI 5.3) or of an MBR that lie in the file.
pub(super) fn partitions(file: &File) -> Vec<Partition> {
    let length = file.metadata().map_or(0, |meta| meta.len());
    let inside = |part: &Partition| {
        part.size > 0
            && part.start > 0
            && part
                .start
                .checked_add(part.size)
                .is_some_and(|end| end <= length)
    };
    let mut mbr = [0; 512];
    if file.read_exact_at(&mut mbr, 0).is_err() || mbr[510..] != [0x55, 0xaa] {
        return Vec::new();
    }
    gpt(file)
        .unwrap_or_else(|| primary(file, &mbr))
        .into_iter()
        .filter(inside)
        .collect()
}

/// Types of the entry that holds further, logical partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// Entry `number` (from 1) of a boot record, and its type.
fn entry(record: &[u8; 512], number: u32) -> (Partition, u8) {
    let at = 446 + 16 * (number as usize - 1);
    let word = |at: usize| u64::from(le32(&record[at..]));
    let partition = Partition {
        number,
        start: word(at + 8) * SECTOR,
        size: word(at + 12) * SECTOR,
    };
    (partition, record[at + 4])
}

fn primary(file: &File, mbr: &[u8; 512]) -> Vec<Partition> {
    let mut parts = Vec::new();
    for (part, kind) in (1..=4).map(|number| entry(mbr, number)) {
        if EXTENDED.contains(&kind) {
            parts.extend(logical(file, part.start));
        } else {
            parts.push(part);
        }
    }
    parts
}

/// The chain of extended boot records from `first` on: each holds one partition, by its distance
/// from the record, and the next record, by its distance from the first. A chain may lie and go in
/// circles: 60 links are more than any tool makes.
fn logical(file: &File, first: u64) -> Vec<Partition> {
    let mut parts = Vec::new();
    let mut at = first;
    for number in 5..65 {
        let mut record = [0; 512];
        if file.read_exact_at(&mut record, at).is_err() || record[510..] != [0x55, 0xaa] {
            break;
        }
        let ((part, _), (next, _)) = (entry(&record, 1), entry(&record, 2));
        parts.push(Partition {
            number,
            start: at + part.start,
            size: part.size,
        });
        if next.start == 0 {
            break;
        }
        at = first + next.start;
    }
    parts
}

fn gpt(file: &File) -> Option<Vec<Partition>> {
    let mut header = [0; 92];
    file.read_exact_at(&mut header, SECTOR).ok()?;
    if &header[..8] != b"EFI PART" {
        return None;
    }
    let table = le64(&header[72..]).checked_mul(SECTOR)?;
    let (count, size) = (le32(&header[80..]).min(128), le32(&header[84..]));
    if !(128..=4096).contains(&size) {
        return None;
    }
    let mut parts = Vec::new();
    for index in 0..count {
        let mut entry = [0; 48];
        let at = table.checked_add(u64::from(index) * u64::from(size))?;
        file.read_exact_at(&mut entry, at).ok()?;
        let (first, last) = (le64(&entry[32..]), le64(&entry[40..]));
        if entry[..16] == [0; 16] || last < first {
            continue;
        }
        parts.push(Partition {
            number: index + 1,
            start: first.checked_mul(SECTOR)?,
            size: (last - first).checked_add(1)?.checked_mul(SECTOR)?,
        });
    }
    Some(parts)
}

fn le32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .take(4)
        .rev()
        .fold(0, |sum, b| sum << 8 | u32::from(*b))
}

fn le64(bytes: &[u8]) -> u64 {
    u64::from(le32(&bytes[4..])) << 32 | u64::from(le32(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile();
        file.write_all(bytes).unwrap();
        file
    }

    fn tempfile() -> File {
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        File::from(rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR).unwrap())
    }

    #[test]
    fn superblocks() {
        assert_eq!(superblock(&file(b"hsqs...."), 0), Some("squashfs"));
        let mut ext4 = vec![0; 0x500];
        ext4[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(superblock(&file(&ext4), 0), Some("ext4"));
        assert_eq!(superblock(&file(&ext4), u64::MAX), None);
        assert_eq!(superblock(&file(b""), 0), None);
    }

    #[test]
    fn partition_tables_that_lie() {
        let mut mbr = vec![0; 4096];
        mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
        // The second entry: sector 2, 3 sectors. The third: beyond the file.
        mbr[446 + 16 + 8] = 2;
        mbr[446 + 16 + 12] = 3;
        mbr[446 + 32 + 8..446 + 32 + 16].fill(0xff);
        let good = Partition {
            number: 2,
            start: 1024,
            size: 1536,
        };
        assert_eq!(partitions(&file(&mbr)), [good]);
        // A GPT whose table is nowhere.
        mbr[512..520].copy_from_slice(b"EFI PART");
        mbr[584..592].fill(0xff);
        mbr[592..596].fill(0xff);
        mbr[596..600].copy_from_slice(&128u32.to_le_bytes());
        partitions(&file(&mbr));
        assert!(partitions(&file(&[0xff; 600])).is_empty());
    }
}
