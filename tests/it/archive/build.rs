//! Archives byte by byte, because no crate writes hostile ones.

use std::io::Write;

use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};
use tar::EntryType;

/// Compresses as gzip does.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compresses");
    encoder.finish().expect("compresses")
}

/// A tar in the making.
pub(crate) struct Tar {
    bytes: Vec<u8>,
    mode: u32,
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            mode: 0o644,
        }
    }

    /// The mode of the entries that follow.
    pub(crate) fn with_mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw_file(name.as_bytes(), content)
    }

    pub(crate) fn raw_file(mut self, name: &[u8], content: &[u8]) -> Self {
        self.named(name, b"", EntryType::Regular, content.len() as u64);
        self.content(content);
        self
    }

    /// A file that says it is larger than the few bytes it has.
    pub(crate) fn declared(mut self, name: &str, size: u64) -> Self {
        self.named(name.as_bytes(), b"", EntryType::Regular, size);
        self.content(b"few");
        self
    }

    pub(crate) fn folder(mut self, name: &str) -> Self {
        let mode = std::mem::replace(&mut self.mode, 0o777);
        self.named(name.as_bytes(), b"", EntryType::Directory, 0);
        self.mode = mode;
        self
    }

    pub(crate) fn symlink(mut self, name: &str, target: &str) -> Self {
        self.named(name.as_bytes(), target.as_bytes(), EntryType::Symlink, 0);
        self
    }

    pub(crate) fn hard_link(mut self, name: &str, target: &str) -> Self {
        self.named(name.as_bytes(), target.as_bytes(), EntryType::Link, 0);
        self
    }

    pub(crate) fn special(mut self, name: &str, kind: EntryType) -> Self {
        self.named(name.as_bytes(), b"", kind, 0);
        self
    }

    pub(crate) fn pax_global(mut self, content: &[u8]) -> Self {
        self.named(
            b"pax_global_header",
            b"",
            EntryType::XGlobalHeader,
            content.len() as u64,
        );
        self.content(content);
        self
    }

    /// A file whose name is told as Python and modern tar tell long ones.
    pub(crate) fn pax_file(mut self, name: &str, content: &[u8]) -> Self {
        let record = (1..)
            .map(|size| format!("{size} path={name}\n"))
            .find(|r| r.starts_with(&format!("{} ", r.len())));
        let record = record.expect("has a size");
        self.named(b"PaxHeaders/x", b"", EntryType::XHeader, record.len() as u64);
        self.content(record.as_bytes());
        self.file("short", content)
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }

    fn named(&mut self, name: &[u8], target: &[u8], kind: EntryType, size: u64) {
        for (long, kind) in [(name, EntryType::GNULongName), (target, EntryType::GNULongLink)] {
            if long.len() > 100 {
                self.header(b"././@LongLink", b"", kind, long.len() as u64 + 1);
                self.content(&[long, b"\0"].concat());
            }
        }
        self.header(
            &name[..name.len().min(100)],
            &target[..target.len().min(100)],
            kind,
            size,
        );
    }

    fn header(&mut self, name: &[u8], target: &[u8], kind: EntryType, size: u64) {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target);
        header.set_mode(self.mode);
        header.set_size(size);
        header.set_entry_type(kind);
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
    }

    fn content(&mut self, content: &[u8]) {
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }
}

/// A zip in the making.
pub(crate) struct ZipBytes {
    local: Vec<u8>,
    central: Vec<u8>,
    count: u32,
}

/// What a zip says of one entry.
struct Told<'a> {
    name: &'a [u8],
    mode: u32,
    method: u16,
    crc: u32,
    size: u32,
}

impl ZipBytes {
    pub(crate) fn new() -> Self {
        Self {
            local: Vec::new(),
            central: Vec::new(),
            count: 0,
        }
    }

    /// A stored entry.
    pub(crate) fn entry(self, name: &[u8], mode: u32, content: &[u8]) -> Self {
        let size = u32::try_from(content.len()).expect("small");
        self.add(
            &Told {
                name,
                mode,
                method: 0,
                crc: crc(content),
                size,
            },
            content,
        )
    }

    /// A deflated entry that says it has `size` bytes.
    pub(crate) fn deflated(self, name: &[u8], content: &[u8], size: u32) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).expect("compresses");
        let data = encoder.finish().expect("compresses");
        self.add(
            &Told {
                name,
                mode: 0o100_644,
                method: 8,
                crc: crc(content),
                size,
            },
            &data,
        )
    }

    /// The same entries once more, under the same content.
    pub(crate) fn twice(mut self) -> Self {
        let mut again = self.central.clone();
        again[46] ^= 1;
        self.central.extend(again);
        self.count *= 2;
        self
    }

    fn add(mut self, told: &Told<'_>, data: &[u8]) -> Self {
        let offset = u32::try_from(self.local.len()).expect("small");
        let packed = u32::try_from(data.len()).expect("small");
        let name_length = u16::try_from(told.name.len()).expect("small");
        let mut common = Vec::new();
        for word in [20, 0, told.method, 0, 0x21] {
            common.extend(word.to_le_bytes());
        }
        for long in [told.crc, packed, told.size] {
            common.extend(long.to_le_bytes());
        }
        common.extend(name_length.to_le_bytes());
        common.extend(0_u16.to_le_bytes());
        self.local.extend(b"PK\x03\x04");
        self.local.extend(&common);
        self.local.extend(told.name);
        self.local.extend(data);
        // Made by Unix, so that the upper half of the attributes is the mode.
        self.central.extend(b"PK\x01\x02\x14\x03");
        self.central.extend(&common);
        self.central.extend([0; 6]);
        self.central.extend((told.mode << 16).to_le_bytes());
        self.central.extend(offset.to_le_bytes());
        self.central.extend(told.name);
        self.count += 1;
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let start = self.local.len() as u64;
        let size = self.central.len() as u64;
        let end = start + size;
        let mut bytes = [self.local, self.central].concat();
        let count = u64::from(self.count);
        if count > 0xffff {
            bytes.extend(b"PK\x06\x06");
            bytes.extend(44_u64.to_le_bytes());
            bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for long in [count, count, size, start] {
                bytes.extend(long.to_le_bytes());
            }
            bytes.extend(b"PK\x06\x07\0\0\0\0");
            bytes.extend(end.to_le_bytes());
            bytes.extend(1_u32.to_le_bytes());
        }
        let short = u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend(short);
        bytes.extend(short);
        bytes.extend(u32::try_from(size).expect("small").to_le_bytes());
        bytes.extend(u32::try_from(start).expect("small").to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }
}

fn crc(content: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(content);
    crc.sum()
}
