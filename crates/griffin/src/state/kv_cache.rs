//! The state of local attention: the keys and values of the last w tokens.
//!
//! The size of a cache depends on the model alone. A key or a value is rounded to the cache's type before any query sees it, so it
//! makes no difference where a chunk ends; what was rounded does not change by rounding again, so a cache that was saved and
//! restored is the same cache.
//!
//! Keys lie in tiles of 16 slots, dimension by dimension, so that 16 scores grow side by side; values lie in tiles of 16
//! dimensions, slot by slot, so that 16 sums do. Both are read from end to end. Where an instruction multiplies pairs and adds
//! them up, two dimensions of a key and two slots of a value are neighbors. A token's slot is its number modulo w: a softmax
//! does not depend on the order.

mod attention;
mod buffers;
mod element;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use element::KvElement;
pub(crate) use window::{AttentionWindow, Queries};

use crate::options::KvCacheType;

/// Keys, and dimensions of values, side by side.
const TILE: usize = 16;

/// Keys and values of `slots` tokens for each of g heads, h wide.
#[derive(Clone, Debug)]
pub(crate) struct KvCache<T> {
    /// [g, slots/16, h/side, 16, side], dimensions padded to whole sides
    keys: Vec<T>,
    /// [g, h/16, slots/side, 16, side], slots and dimensions padded to 16
    values: Vec<T>,
    /// What a key, and a value, is to be multiplied with [g, slots], slots padded to 16.
    key_scales: Vec<f32>,
    value_scales: Vec<f32>,
    heads: usize,
    width: usize,
    slots: usize,
}

/// A cache of the type which the model keeps.
#[derive(Clone, Debug)]
pub(crate) enum AnyKvCache {
    F32(KvCache<f32>),
    /// Its numbers are f16 as well.
    I16(KvCache<i16>),
}

impl AnyKvCache {
    pub(crate) fn new(kind: KvCacheType, heads: usize, width: usize, slots: usize) -> Self {
        match kind {
            KvCacheType::F32 => Self::F32(KvCache::new(heads, width, slots)),
            KvCacheType::I16 => Self::I16(KvCache::new(heads, width, slots)),
        }
    }
}

/// Keys and values [g, w, h], oldest first.
pub(crate) struct KeysAndValues {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

/// The first slots of one head, as they lie in memory.
#[derive(Clone, Copy)]
pub(crate) struct HeadSlots<'a, T> {
    keys: &'a [T],
    /// Of all slots.
    values: &'a [T],
    /// From a tile of values to the next.
    stride: usize,
    key_scales: &'a [f32],
    value_scales: &'a [f32],
}

impl<T> HeadSlots<'_, T> {
    /// Values of the 16 dimensions from `dim` on.
    fn values(&self, dim: usize) -> &[T] {
        &self.values[dim / TILE * self.stride..][..self.value_scales.len() * TILE]
    }
}

/// Where a token that is held lies: its slot, and its place in the order of time.
struct HeldToken {
    head: usize,
    place: usize,
    slot: usize,
}

impl<T: KvElement> KvCache<T> {
    /// An empty cache.
    pub(crate) fn new(heads: usize, width: usize, slots: usize) -> Self {
        let padded = heads * slots.next_multiple_of(TILE);
        Self {
            keys: vec![T::default(); padded * width.next_multiple_of(T::SIDE)],
            values: vec![T::default(); padded * width.next_multiple_of(TILE)],
            key_scales: vec![1.0; padded],
            value_scales: vec![1.0; padded],
            heads,
            width,
            slots,
        }
    }

    fn scale_at(&self, head: usize, slot: usize) -> usize {
        head * self.slots.next_multiple_of(TILE) + slot
    }

    fn key_at(&self, head: usize, slot: usize, dim: usize) -> usize {
        let tile = self.scale_at(head, slot) / TILE;
        let width = self.width.next_multiple_of(T::SIDE);
        (tile * width + dim / T::SIDE * T::SIDE) * TILE + slot % TILE * T::SIDE + dim % T::SIDE
    }

    fn value_at(&self, head: usize, slot: usize, dim: usize) -> usize {
        let tiles = self.width.div_ceil(TILE);
        let slots = self.slots.next_multiple_of(TILE);
        let row = (head * tiles + dim / TILE) * slots + slot / T::SIDE * T::SIDE;
        row * TILE + dim % TILE * T::SIDE + slot % T::SIDE
    }

    /// Makes a cache of a chunk's own tokens ready for t of them: whatever an earlier chunk left behind them in their last tile
    /// becomes finite, so that a probability of zero times it is zero.
    pub(crate) fn begin(&mut self, t: usize) {
        for head in 0..self.heads {
            let behind = self.scale_at(head, t)..self.scale_at(head, t.next_multiple_of(TILE));
            self.key_scales[behind.clone()].fill(1.0);
            self.value_scales[behind].fill(1.0);
            // From the last slot that shares its place with one of the chunk.
            let (first, end) = (t / T::SIDE * T::SIDE, t.next_multiple_of(TILE));
            for dim in (0..self.width).step_by(TILE) {
                let at = self.value_at(head, first, dim);
                self.values[at..at + (end - first) * TILE].fill(T::default());
            }
        }
    }

    /// Puts one token's keys and values [g, h] into a slot.
    pub(crate) fn put(&mut self, slot: usize, keys: &[f32], values: &[f32]) {
        let heads = keys.chunks_exact(self.width).zip(values.chunks_exact(self.width));
        for (head, (key, value)) in heads.enumerate() {
            self.put_head(head, slot, key, value);
        }
    }

    /// The same for one head.
    fn put_head(&mut self, head: usize, slot: usize, key: &[f32], value: &[f32]) {
        let key_scale = T::scale(key);
        let value_scale = T::scale(value);
        for (dim, (key, value)) in key.iter().zip(value).enumerate() {
            let key_at = self.key_at(head, slot, dim);
            self.keys[key_at] = T::round(*key, key_scale);
            let value_at = self.value_at(head, slot, dim);
            self.values[value_at] = T::round(*value, value_scale);
        }
        let at = self.scale_at(head, slot);
        self.key_scales[at] = key_scale;
        self.value_scales[at] = value_scale;
    }

    /// Copies one slot of a cache that differs only in its number of slots.
    fn copy_slot(&mut self, slot: usize, other: &Self, from: usize) {
        for head in 0..self.heads {
            for dim in 0..self.width {
                let at = self.key_at(head, slot, dim);
                self.keys[at] = other.keys[other.key_at(head, from, dim)];
                let at = self.value_at(head, slot, dim);
                self.values[at] = other.values[other.value_at(head, from, dim)];
            }
            let at = self.scale_at(head, slot);
            let from = other.scale_at(head, from);
            self.key_scales[at] = other.key_scales[from];
            self.value_scales[at] = other.value_scales[from];
        }
    }

    /// Moves on by the t tokens in `new`, the first of which is number `past` of the stream.
    pub(crate) fn append(&mut self, new: &Self, t: usize, past: u64) {
        for token in t.saturating_sub(self.slots)..t {
            let slot = ((past + token as u64) % self.slots as u64) as usize;
            self.copy_slot(slot, new, token);
        }
    }

    /// [g, w, h]
    pub(crate) fn shape(&self) -> [usize; 3] {
        [self.heads, self.slots, self.width]
    }

    /// Numbers of the keys, or of the values.
    pub(crate) fn len(&self) -> usize {
        self.heads * self.slots * self.width
    }

    /// Keys and values [g, w, h] after `past` tokens, the newest last; zeros stand before the first.
    pub(crate) fn in_order(&self, past: u64) -> KeysAndValues {
        let mut keys = vec![0.0; self.len()];
        let mut values = vec![0.0; self.len()];
        for HeldToken { head, place, slot } in self.held_tokens(past) {
            let at = (head * self.slots + place) * self.width;
            let scale_at = self.scale_at(head, slot);
            for dim in 0..self.width {
                let key = self.keys[self.key_at(head, slot, dim)];
                keys[at + dim] = key.times(self.key_scales[scale_at]);
                let value = self.values[self.value_at(head, slot, dim)];
                values[at + dim] = value.times(self.value_scales[scale_at]);
            }
        }
        KeysAndValues { keys, values }
    }

    /// Takes what [`KvCache::in_order`] gave after as many tokens.
    pub(crate) fn fill_in_order(&mut self, past: u64, keys: &[f32], values: &[f32]) {
        for HeldToken { head, place, slot } in self.held_tokens(past) {
            let at = (head * self.slots + place) * self.width;
            self.put_head(head, slot, &keys[at..][..self.width], &values[at..][..self.width]);
        }
    }

    /// Every token that is held after `past` tokens.
    fn held_tokens(&self, past: u64) -> impl Iterator<Item = HeldToken> + use<T> {
        let slots = self.slots as u64;
        let used = past.min(slots);
        let held = move |head: usize, i: u64| HeldToken {
            head,
            place: (slots - used + i) as usize,
            slot: ((past - used + i) % slots) as usize,
        };
        (0..self.heads).flat_map(move |head| (0..used).map(move |i| held(head, i)))
    }

    /// The first slots of a head, and what is left of their last tile.
    fn head_slots(&self, head: usize, slots: usize) -> HeadSlots<'_, T> {
        let slots = slots.next_multiple_of(TILE);
        let scales = self.scale_at(head, 0);
        let padded = self.slots.next_multiple_of(TILE);
        HeadSlots {
            keys: &self.keys[self.key_at(head, 0, 0)..][..slots * self.width.next_multiple_of(T::SIDE)],
            values: &self.values[self.value_at(head, 0, 0)..][..padded * self.width.next_multiple_of(TILE)],
            stride: padded * TILE,
            key_scales: &self.key_scales[scales..][..slots],
            value_scales: &self.value_scales[scales..][..slots],
        }
    }
}
