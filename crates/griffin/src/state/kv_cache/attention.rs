//! The two loops of attention over keys and values: scores, and the mixture of values.
//!
//! R queries go over a key together, so that it is loaded once for them. Loops are written without closures, which would be
//! compiled without the kernel's instructions.

use super::buffers::QueryLayout;
use super::element::{KvElement, PackedProbabilities, store_tile};
use super::{HeadSlots, TILE};
use crate::kernels::simd::Simd;

/// Some queries, and the slots of their key head: those of the cache, and those of the chunk.
#[derive(Clone, Copy)]
pub(crate) struct HeadAttention<'a, T> {
    pub(crate) layout: QueryLayout,
    pub(crate) slots: [HeadSlots<'a, T>; 2],
}

impl<T: KvElement> HeadAttention<'_, T> {
    /// q·k: packed queries → scores [rows, slots].
    #[inline(always)]
    pub(crate) fn score<S: Simd, const R: usize>(
        &self,
        simd: S,
        queries: &[T::Unit],
        query_scales: &[f32],
        scores: &mut [f32],
    ) {
        let stride = scores.len() / self.layout.count;
        let units = self.layout.width.div_ceil(T::SIDE);
        let (queries, _) = queries.as_chunks::<R>();
        let mut at = 0;
        for slots in self.slots {
            let tiles = T::units(slots.keys).as_chunks::<TILE>().0.chunks_exact(units);
            for (keys, key_scales) in tiles.zip(slots.key_scales.as_chunks::<TILE>().0) {
                let rows = queries.chunks_exact(units).zip(query_scales.as_chunks::<R>().0);
                for ((queries, query_scales), scores) in rows.zip(scores.chunks_exact_mut(R * stride)) {
                    let mut sums = [[T::zero(simd); 4]; R];
                    for (keys, q) in keys.iter().zip(queries) {
                        for part in 0..TILE / S::N {
                            let key = T::load(simd, &keys[part * S::N..]);
                            for r in 0..R {
                                sums[r][part] = T::multiply_add(simd, key, T::splat(simd, q[r]), sums[r][part]);
                            }
                        }
                    }
                    for part in 0..TILE / S::N {
                        let key_scales = simd.load(&key_scales[part * S::N..]);
                        for r in 0..R {
                            let scale = simd.mul(key_scales, simd.splat(query_scales[r]));
                            let score = T::scaled(simd, sums[r][part], scale);
                            simd.store(score, &mut scores[r * stride + at + part * S::N..]);
                        }
                    }
                }
                at += TILE;
            }
        }
    }

    /// Σ p·value over all slots → `out`.
    #[inline(always)]
    pub(crate) fn mix<S: Simd, const R: usize>(&self, simd: S, p: PackedProbabilities<'_, T::Unit>, out: &mut [f32]) {
        let stride = p.units.len() / self.layout.count;
        for dim in (0..self.layout.width).step_by(TILE) {
            for (index, units) in p.units.chunks_exact(R * stride).enumerate() {
                let mut sums = [[T::zero(simd); 4]; R];
                let mut at = 0;
                for slots in self.slots {
                    let values = T::units(slots.values(dim)).as_chunks::<TILE>().0;
                    let mut rows: [&[T::Unit]; R] = [&[]; R];
                    for r in 0..R {
                        rows[r] = &units[r * stride + at..][..values.len()];
                    }
                    // The count is not known to the compiler: of a loop that it unrolls it rearranges the sums, and moves all of
                    // them through the stack.
                    for (slot, value) in values.iter().enumerate() {
                        for part in 0..TILE / S::N {
                            let value = T::load(simd, &value[part * S::N..]);
                            for r in 0..R {
                                sums[r][part] =
                                    T::multiply_add(simd, value, T::splat(simd, rows[r][slot]), sums[r][part]);
                            }
                        }
                    }
                    at += values.len();
                }
                for (r, sums) in sums.into_iter().enumerate() {
                    let row = index * R + r;
                    let scale = simd.splat(p.scales[row]);
                    let mut mixed = [simd.splat(0.0); 4];
                    for part in 0..TILE / S::N {
                        mixed[part] = T::scaled(simd, sums[part], scale);
                    }
                    store_tile(simd, mixed, &mut self.layout.row_mut(out, row)[dim..]);
                }
            }
        }
    }
}
