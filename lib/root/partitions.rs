//! Reads partition tables and superblocks of image files. They are hostile input: every read is bounded.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The size of a sector in partition tables, in bytes.
const SECTOR: u64 = 512;

/// The supported file systems: type, offset of the magic number in bytes, magic number.
const SUPERBLOCKS: &[(&str, u64, &[u8])] = &[
    ("squashfs", 0, b"hsqs"),
    ("xfs", 0, b"XFSB"),
    ("erofs", 0x400, &[0xe2, 0xe1, 0xf5, 0xe0]),
    ("ext4", 0x438, &[0x53, 0xef]),
    ("f2fs", 0x400, &[0x10, 0x20, 0xf5, 0xf2]),
    ("iso9660", 0x8001, b"CD001"),
    ("btrfs", 0x10040, b"_BHRfS_M"),
];

/// Returns the type of the file system that begins at `offset`; none if its superblock is unknown.
pub(super) fn fstype_at(file: &File, offset: u64) -> Option<&'static str> {
    SUPERBLOCKS.iter().find_map(|(fstype, at, magic)| {
        let mut bytes = vec![0; magic.len()];
        file.read_exact_at(&mut bytes, offset.checked_add(*at)?)
            .ok()?;
        (bytes == *magic).then_some(*fstype)
    })
}

/// A partition of an image file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// The number, from 1. Logical partitions of an MBR have the numbers from 5 on.
    pub number: u32,
    /// The start, in bytes.
    pub start: u64,
    /// The size, in bytes.
    pub size: u64,
}

/// Returns the partitions of a GPT (UEFI specification, 5.3) or of an MBR. Those that exceed the file are
/// left out.
pub(super) fn partitions(file: &File) -> Vec<Partition> {
    let length = file.metadata().map_or(0, |meta| meta.len());
    let lies_in_file = |part: &Partition| {
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
    read_gpt(file)
        .unwrap_or_else(|| read_mbr(file, &mbr))
        .into_iter()
        .filter(lies_in_file)
        .collect()
}

/// The types of an MBR entry that holds logical partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// Returns entry `number` (from 1) of a boot record, and its type.
fn parse_entry(record: &[u8; 512], number: u32) -> (Partition, u8) {
    let at = 446 + 16 * (number as usize - 1);
    let word = |at: usize| u64::from(le32(&record[at..]));
    let partition = Partition {
        number,
        start: word(at + 8) * SECTOR,
        size: word(at + 12) * SECTOR,
    };
    (partition, record[at + 4])
}

fn read_mbr(file: &File, mbr: &[u8; 512]) -> Vec<Partition> {
    let mut parts = Vec::new();
    for (part, kind) in (1..=4).map(|number| parse_entry(mbr, number)) {
        if EXTENDED.contains(&kind) {
            parts.extend(read_logical(file, part.start));
        } else {
            parts.push(part);
        }
    }
    parts
}

/// Reads the chain of extended boot records from `first` on. The first entry of a record is a partition,
/// relative to the record; the second entry is the next record, relative to the first record. A hostile chain
/// can be circular, so at most 60 records are read: no tool makes more.
fn read_logical(file: &File, first: u64) -> Vec<Partition> {
    let mut parts = Vec::new();
    let mut at = first;
    for number in 5..65 {
        let mut record = [0; 512];
        if file.read_exact_at(&mut record, at).is_err() || record[510..] != [0x55, 0xaa] {
            break;
        }
        let ((part, _), (next, _)) = (parse_entry(&record, 1), parse_entry(&record, 2));
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

/// Reads a GPT; none if the file has no GPT, or a damaged one.
fn read_gpt(file: &File) -> Option<Vec<Partition>> {
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
    fn superblocks_are_recognised() {
        assert_eq!(fstype_at(&file(b"hsqs...."), 0), Some("squashfs"));
        let mut ext4 = vec![0; 0x500];
        ext4[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(fstype_at(&file(&ext4), 0), Some("ext4"));
        assert_eq!(fstype_at(&file(&ext4), u64::MAX), None);
        assert_eq!(fstype_at(&file(b""), 0), None);
    }

    #[test]
    fn false_partition_tables_are_harmless() {
        let mut mbr = vec![0; 4096];
        mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
        // The second entry begins at sector 2 and has 3 sectors. The third entry exceeds the file.
        mbr[446 + 16 + 8] = 2;
        mbr[446 + 16 + 12] = 3;
        mbr[446 + 32 + 8..446 + 32 + 16].fill(0xff);
        let good = Partition {
            number: 2,
            start: 1024,
            size: 1536,
        };
        assert_eq!(partitions(&file(&mbr)), [good]);
        // The table of this GPT lies beyond the file.
        mbr[512..520].copy_from_slice(b"EFI PART");
        mbr[584..592].fill(0xff);
        mbr[592..596].fill(0xff);
        mbr[596..600].copy_from_slice(&128u32.to_le_bytes());
        partitions(&file(&mbr));
        assert!(partitions(&file(&[0xff; 600])).is_empty());
    }
}
