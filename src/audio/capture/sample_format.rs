//! From a device's raw bytes to samples: one function for each format that a microphone may deliver.

use cpal::{FromSample, I24, Sample, SampleFormat, U24};

/// The value of one sample in native byte order: −1 … 1 for integers, and for floats what the driver wrote.
pub(super) type DecodeSample = fn(&[u8]) -> f32;

/// How many bytes a sample of this format has, and how to read it. None for a format that is not supported.
pub(super) fn decoder(format: SampleFormat) -> Option<(usize, DecodeSample)> {
    Some(match format {
        SampleFormat::I8 => (1, |bytes| decode(bytes, i8::from_ne_bytes)),
        SampleFormat::U8 => (1, |bytes| decode(bytes, u8::from_ne_bytes)),
        SampleFormat::I16 => (2, |bytes| decode(bytes, i16::from_ne_bytes)),
        SampleFormat::U16 => (2, |bytes| decode(bytes, u16::from_ne_bytes)),
        SampleFormat::I24 => (4, |bytes| decode(bytes, i24_in_32_bits)),
        SampleFormat::U24 => (4, |bytes| decode(bytes, u24_in_32_bits)),
        SampleFormat::I32 => (4, |bytes| decode(bytes, i32::from_ne_bytes)),
        SampleFormat::U32 => (4, |bytes| decode(bytes, u32::from_ne_bytes)),
        SampleFormat::I64 => (8, |bytes| decode(bytes, i64::from_ne_bytes)),
        SampleFormat::U64 => (8, |bytes| decode(bytes, u64::from_ne_bytes)),
        SampleFormat::F32 => (4, |bytes| decode(bytes, f32::from_ne_bytes)),
        SampleFormat::F64 => (8, |bytes| decode(bytes, f64::from_ne_bytes)),
        // DSD is a one-bit format for music players. A microphone that offers it offers another format, too.
        _ => return None,
    })
}

fn decode<const BYTES: usize, S>(bytes: &[u8], from_ne_bytes: fn([u8; BYTES]) -> S) -> f32
where
    f32: FromSample<S>,
{
    f32::from_sample(from_ne_bytes(bytes.try_into().expect("a sample has the width of its format")))
}

/// The sample is in the low 24 bits. The bits above them are not defined.
fn i24_in_32_bits(bytes: [u8; 4]) -> I24 {
    I24::new_unchecked(i32::from_ne_bytes(bytes) << 8 >> 8)
}

fn u24_in_32_bits(bytes: [u8; 4]) -> U24 {
    U24::new_unchecked(i32::from_ne_bytes(bytes) & 0x00ff_ffff)
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

    /// A value as a driver writes it to memory.
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
    fn every_format_decodes_to_the_value_it_encodes() {
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
    fn the_bits_above_a_24_bit_sample_are_ignored() {
        let (_, signed) = decoder(SampleFormat::I24).unwrap();
        let (_, unsigned) = decoder(SampleFormat::U24).unwrap();
        assert_eq!(signed(&0x5a40_0000u32.to_ne_bytes()), 0.5);
        assert_eq!(unsigned(&0xa5c0_0000u32.to_ne_bytes()), 0.5);
    }
}
