//! Repairs the headers of recordings that other programs play although their lengths are wrong, before the file is parsed.
//!
//! A program that writes to a pipe does not know how long the recording will be, and one that is killed does not correct the header
//! that it wrote first. Such a length is 0 or as large as can be, and the length of the file counts instead. Nothing but lengths is
//! changed, and none that may be right.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

/// The chunks before the samples are looked at as far as this.
const MAX_HEADER: usize = 1 << 20;
/// A length that means "unknown" to the parser.
const UNKNOWN: u32 = u32::MAX;
/// Streams are given lengths from here on, minus some headers: 2 or 4 GiB.
const STREAM_LENGTH: u32 = 0x7FFF_0000;
/// The smallest block of FLAC.
const MIN_BLOCK: u16 = 16;

/// A file whose header has been repaired.
pub(super) struct RepairedFile {
    /// The first bytes as they should be.
    header: Vec<u8>,
    file: File,
    position: u64,
    /// None for a pipe.
    length: Option<u64>,
}

impl RepairedFile {
    pub(super) fn new(mut file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let length = metadata.is_file().then_some(metadata.len());
        let mut header = Header { bytes: Vec::new(), file: &mut file };
        header.repair(length)?;
        Ok(Self { header: header.bytes, file, position: 0, length })
    }
}

impl RepairedFile {
    /// Whether there was nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        self.header.is_empty()
    }
}

impl Read for RepairedFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let header = usize::try_from(self.position).ok().and_then(|at| self.header.get(at..)).unwrap_or_default();
        let read = if header.is_empty() { self.file.read(into)? } else { (&header[..]).read(into)? };
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for RepairedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.file.seek(SeekFrom::End(0))?.checked_add_signed(by),
        };
        let position = position.ok_or(io::ErrorKind::InvalidInput)?;
        self.file.seek(SeekFrom::Start(position.max(self.header.len() as u64)))?;
        self.position = position;
        Ok(position)
    }
}

impl MediaSource for RepairedFile {
    fn is_seekable(&self) -> bool {
        self.length.is_some()
    }

    fn byte_len(&self) -> Option<u64> {
        self.length
    }
}

/// The first bytes of a file, read as far as they are needed.
struct Header<'a> {
    bytes: Vec<u8>,
    file: &'a mut File,
}

impl Header<'_> {
    /// `length` is that of the file.
    fn repair(&mut self, length: Option<u64>) -> io::Result<()> {
        let (Some(kind), form) = (self.bytes_at::<4>(0)?, self.bytes_at(8)?) else { return Ok(()) };
        if matches!(&kind, b"RIFF" | b"RF64" | b"BW64") && form == Some(*b"WAVE") {
            self.repair_wave(kind, length)?;
        } else if kind == *b"fLaC" {
            self.repair_flac()?;
        }
        Ok(())
    }

    /// WAV, and its forms for more than 4 GiB, which differ only in where the lengths are.
    fn repair_wave(&mut self, kind: [u8; 4], file: Option<u64>) -> io::Result<()> {
        let Some(riff) = self.u32(4)? else { return Ok(()) };
        let mut long_data = None;
        let mut at = 12;
        while at < MAX_HEADER {
            let (Some(id), Some(length)) = (self.bytes_at::<4>(at)?, self.u32(at + 4)?) else { break };
            let body = at + 8;
            match &id {
                b"ds64" => long_data = self.bytes_at(body + 8)?.map(u64::from_le_bytes),
                b"data" => {
                    let rest = file.map(|file| file.saturating_sub(body as u64));
                    let complete = file.is_some_and(|file| u64::from(riff) + 8 >= file);
                    let beyond_file = rest.is_none_or(|rest| u64::from(length) > rest);
                    let known = match length {
                        UNKNOWN => long_data.filter(|long| *long > 0 && rest.is_none_or(|rest| *long <= rest)).or(rest),
                        // There may be no sound in it, and the whole of it is described.
                        0 if complete && kind == *b"RIFF" => Some(0),
                        0 => rest,
                        _ if length >= STREAM_LENGTH && beyond_file => rest,
                        _ => Some(length.into()),
                    };
                    let known = known.and_then(|known| u32::try_from(known).ok());
                    self.put(at + 4, &known.unwrap_or(UNKNOWN).to_le_bytes());
                    break;
                }
                _ => {}
            }
            // A chunk begins at an even byte.
            at = body.saturating_add(length as usize).next_multiple_of(2);
        }
        self.put(0, b"RIFF");
        // The chunks have lengths of their own.
        self.put(4, &UNKNOWN.to_le_bytes());
        Ok(())
    }

    /// FLAC whose smallest block is not said, as it is in a stream.
    fn repair_flac(&mut self) -> io::Result<()> {
        let (Some(least), Some(most)) = (self.bytes_at(8)?, self.bytes_at(10)?) else { return Ok(()) };
        let (least, most) = (u16::from_be_bytes(least), u16::from_be_bytes(most));
        if least >= MIN_BLOCK || most < MIN_BLOCK {
            return Ok(());
        }
        // The last bit of the first frame's mark says whether all blocks have one length.
        let mut at = 4;
        while let Some([kind, high, middle, low]) = self.bytes_at(at)? {
            at += 4 + u32::from_be_bytes([0, high, middle, low]) as usize;
            if kind & 0x80 != 0 || at > MAX_HEADER {
                break;
            }
        }
        let varies = at <= MAX_HEADER && self.bytes_at(at)?.is_some_and(|mark: [u8; 2]| mark == [0xFF, 0xF9]);
        let least = if varies { MIN_BLOCK.min(most - 1) } else { most };
        self.put(8, &least.to_be_bytes());
        Ok(())
    }

    fn u32(&mut self, at: usize) -> io::Result<Option<u32>> {
        Ok(self.bytes_at(at)?.map(u32::from_le_bytes))
    }

    /// Bytes of the file. None behind its end.
    fn bytes_at<const N: usize>(&mut self, at: usize) -> io::Result<Option<[u8; N]>> {
        let missing = (at + N).saturating_sub(self.bytes.len());
        if missing > 0 && at + N <= MAX_HEADER + 64 {
            self.file.by_ref().take(missing as u64).read_to_end(&mut self.bytes)?;
        }
        Ok(self.bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()))
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
