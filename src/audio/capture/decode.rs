//! How samples lie in a device's memory.
//!
//! Owns the reading of every format that a microphone may deliver. Refuses to know the device. Invariant: a value is within −1 … 1
//! for whole numbers, and for floats what the driver wrote.

use cpal::SampleFormat;

/// The value, in −1 … 1, of a sample as it lies in memory.
pub(super) type Decode = fn(&[u8]) -> f32;

/// How many bytes a sample has (in native order, as cpal hands it over), and how to read it.
pub(super) fn decoder(format: SampleFormat) -> Option<(usize, Decode)> {
    /// 24 bits lie in the low bytes of 32; what is above them is not defined.
    fn low24(bytes: &[u8]) -> u32 {
        u32::from_ne_bytes(array(bytes)) << 8
    }
    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().expect("a sample has the width of its format")
    }
    const I31: f32 = (1u64 << 31) as f32;
    const I63: f32 = (1u64 << 63) as f32;
    Some(match format {
        SampleFormat::I8 => (1, |bytes| f32::from(bytes[0] as i8) / 128.0),
        SampleFormat::U8 => (1, |bytes| (f32::from(bytes[0]) - 128.0) / 128.0),
        SampleFormat::I16 => (2, |bytes| f32::from(i16::from_ne_bytes(array(bytes))) / 32_768.0),
        SampleFormat::U16 => (2, |bytes| (f32::from(u16::from_ne_bytes(array(bytes))) - 32_768.0) / 32_768.0),
        SampleFormat::I24 => (4, |bytes| low24(bytes) as i32 as f32 / I31),
        SampleFormat::U24 => (4, |bytes| (low24(bytes) ^ 1 << 31) as i32 as f32 / I31),
        SampleFormat::I32 => (4, |bytes| i32::from_ne_bytes(array(bytes)) as f32 / I31),
        SampleFormat::U32 => (4, |bytes| (u32::from_ne_bytes(array(bytes)) ^ 1 << 31) as i32 as f32 / I31),
        SampleFormat::I64 => (8, |bytes| i64::from_ne_bytes(array(bytes)) as f32 / I63),
        SampleFormat::U64 => (8, |bytes| (u64::from_ne_bytes(array(bytes)) ^ 1 << 63) as i64 as f32 / I63),
        SampleFormat::F32 => (4, |bytes| f32::from_ne_bytes(array(bytes))),
        SampleFormat::F64 => (8, |bytes| f64::from_ne_bytes(array(bytes)) as f32),
        // One-bit streams are for music players; no microphone offers nothing else.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [SampleFormat; 12] = [
        SampleFormat::I8,
        SampleFormat::U8,
        SampleFormat::I16,
        SampleFormat::U16,
        SampleFormat::I24,
        SampleFormat::U24,
        SampleFormat::I32,
        SampleFormat::U32,
        SampleFormat::I64,
        SampleFormat::U64,
        SampleFormat::F32,
        SampleFormat::F64,
    ];

    /// A value as a driver would lay it into memory.
    fn encode(format: SampleFormat, value: f64) -> Vec<u8> {
        let scaled = |bits: u32| (value * 2f64.powi(bits as i32 - 1)) as i128;
        let unsigned = |bits: u32| scaled(bits) + (1i128 << (bits - 1));
        match format {
            SampleFormat::F32 => (value as f32).to_ne_bytes().to_vec(),
            SampleFormat::F64 => value.to_ne_bytes().to_vec(),
            format => {
                let bits = format.bits_per_sample();
                let number = if format.is_int() { scaled(bits) } else { unsigned(bits) };
                let bytes = (number as u64).to_le_bytes()[..format.sample_size()].to_vec();
                if cfg!(target_endian = "big") { bytes.into_iter().rev().collect() } else { bytes }
            }
        }
    }

    #[test]
    fn every_format_is_read_for_what_it_says() {
        for format in ALL {
            let (width, decode) = decoder(format).unwrap();
            assert_eq!(width, format.sample_size());
            for value in [-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75] {
                assert_eq!(decode(&encode(format, value)), value as f32, "{format}");
            }
        }
        assert!(decoder(SampleFormat::DsdU8).is_none());
    }

    #[test]
    fn what_lies_above_24_bits_is_not_looked_at() {
        let (_, signed) = decoder(SampleFormat::I24).unwrap();
        let (_, unsigned) = decoder(SampleFormat::U24).unwrap();
        assert_eq!(signed(&0x5a40_0000u32.to_ne_bytes()), 0.5);
        assert_eq!(unsigned(&0xa5c0_0000u32.to_ne_bytes()), 0.5);
    }
}
