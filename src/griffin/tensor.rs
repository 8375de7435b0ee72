//! A tensor's values as a slice.
//!
//! Owns the one way from candle's tensors to plain loops. Invariant: nothing is copied and nothing can be
//! written.

use std::ops::{Deref, Range};

use candle_core::{Storage, Tensor};

use super::Error;

/// The f32 values of a contiguous tensor, in place.
pub fn values(tensor: &Tensor) -> Result<impl Deref<Target = [f32]> + '_, Error> {
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = layout.contiguous_offsets().ok_or(candle_core::Error::RequiresContiguous { op: "values" })?;
    let Storage::Cpu(cpu) = &*storage else {
        return Err(candle_core::Error::Msg("the model computes on the CPU only".into()).into());
    };
    cpu.as_slice::<f32>()?;
    Ok(Values { storage, range: start..end })
}

/// A read lock on a tensor's storage, and which of its values are the tensor's.
struct Values<G> {
    storage: G,
    range: Range<usize>,
}

impl<G: Deref<Target = Storage>> Deref for Values<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let Storage::Cpu(cpu) = &*self.storage else { unreachable!("values() checked it") };
        &cpu.as_slice::<f32>().expect("values() checked it")[self.range.clone()]
    }
}
