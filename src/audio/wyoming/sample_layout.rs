//! How the samples of a satellite's audio are encoded.
//!
//! Every number that a satellite gives is checked before it is used.

use serde_json::{Map, Value};

/// How the samples of a stream are encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SampleLayout {
    pub(super) rate: u32,
    /// Bytes of one sample.
    pub(super) width: usize,
    pub(super) channels: usize,
}

/// # Errors
/// A number is missing or out of its range; the message names it.
pub(super) fn sample_layout(data: &Map<String, Value>) -> Result<SampleLayout, String> {
    let number = |key: &str, most: u64| {
        let number = data.get(key).and_then(Value::as_u64).filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| {
            let found = data.get(key).unwrap_or(&Value::Null);
            format!("the {key} of its audio is {found}, not a number of 1 to {most}")
        })
    };
    Ok(SampleLayout {
        rate: number("rate", 384_000)? as u32,
        width: number("width", 4)? as usize,
        channels: number("channels", 32)? as usize,
    })
}

/// A little-endian sample of 1 to 4 bytes. A sample of one byte is unsigned, as in WAV.
pub(super) fn sample(bytes: &[u8]) -> f32 {
    match bytes {
        [byte] => (f32::from(*byte) - 128.0) / 128.0,
        bytes => {
            let mut wide = [0; 4];
            wide[4 - bytes.len()..].copy_from_slice(bytes);
            i32::from_le_bytes(wide) as f32 / (1u32 << 31) as f32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn samples_of_every_width_are_decoded() {
        assert_eq!([0x00, 0x80, 0xc0].map(|byte| sample(&[byte])), [-1.0, 0.0, 0.5]);
        assert_eq!(sample(&(-16_384i16).to_le_bytes()), -0.5);
        assert_eq!(sample(&[0, 0, 0x40]), 0.5);
        assert_eq!(sample(&i32::MIN.to_le_bytes()), -1.0);
    }

    #[test]
    fn an_invalid_sample_layout_is_refused_with_the_key_at_fault() {
        for (data, key) in [
            (json!({ "rate": 0, "width": 2, "channels": 1 }), "rate of its audio is 0"),
            (json!({ "rate": 16_000, "width": 8, "channels": 1 }), "width of its audio is 8"),
            (json!({ "rate": 16_000, "width": 2 }), "channels of its audio is null"),
            (json!({ "rate": "fast", "width": 2, "channels": 1 }), "rate of its audio is \"fast\""),
        ] {
            let Err(reason) = sample_layout(data.as_object().unwrap()) else { panic!("{data} was taken") };
            assert!(reason.contains(key), "{reason}");
        }
    }
}
