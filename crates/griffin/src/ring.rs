//! Local attention's memory: the keys and values of the last w tokens.
//!
//! Owns how they lie in memory; [`element`] owns what they are rounded to and the loops over them, [`sight`] who sees which of
//! them. Refuses to know of weights. Invariants: the ring's size depends on the model alone; a key or a value is rounded to the
//! ring's type before anyone sees it, so that it makes no difference where a chunk ends; what is rounded already stays as it is,
//! so that a snapshot of a ring gives the same ring.
//!
//! Keys lie in tiles of 16 slots, dimension by dimension, so that 16 scores grow side by side; values lie in tiles of 16
//! dimensions, slot by slot, so that 16 sums do. Either is read from end to end. Where an instruction multiplies pairs and adds
//! them up, two dimensions of a key and two slots of a value are neighbours. The order of the slots is that of arrival modulo w:
//! a softmax does not mind.

mod element;
mod sight;
#[cfg(test)]
mod tests;

pub use element::Element;
pub use sight::{Queries, Sight};

/// Keys, and dimensions of values, side by side.
const TILE: usize = 16;

/// Keys and values of `slots` tokens for each of g heads, h wide.
#[derive(Clone, Debug)]
pub struct Ring<E> {
    /// [g, slots/16, h/side, 16, side], dimensions padded to whole sides
    keys: Vec<E>,
    /// [g, h/16, slots/side, 16, side], slots and dimensions padded to 16
    values: Vec<E>,
    /// What a key, and a value, is to be multiplied with [g, slots], slots padded to 16.
    key_scales: Vec<f32>,
    value_scales: Vec<f32>,
    heads: usize,
    width: usize,
    slots: usize,
}

/// Some slots of one head, as they lie.
#[derive(Clone, Copy)]
pub struct Part<'a, E> {
    keys: &'a [E],
    /// Of all slots.
    values: &'a [E],
    /// From a tile of values to the next.
    stride: usize,
    key_scales: &'a [f32],
    value_scales: &'a [f32],
}

impl<E> Part<'_, E> {
    /// Values of the 16 dimensions from `dim` on.
    fn values(&self, dim: usize) -> &[E] {
        &self.values[dim / TILE * self.stride..][..self.value_scales.len() * TILE]
    }
}

impl<E: Element> Ring<E> {
    /// An empty ring.
    pub fn new(heads: usize, width: usize, slots: usize) -> Self {
        let padded = heads * slots.next_multiple_of(TILE);
        Self {
            keys: vec![E::default(); padded * width.next_multiple_of(E::SIDE)],
            values: vec![E::default(); padded * width.next_multiple_of(TILE)],
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
        let (tile, width) = (self.scale_at(head, slot) / TILE, self.width.next_multiple_of(E::SIDE));
        (tile * width + dim / E::SIDE * E::SIDE) * TILE + slot % TILE * E::SIDE + dim % E::SIDE
    }

    fn value_at(&self, head: usize, slot: usize, dim: usize) -> usize {
        let (tiles, slots) = (self.width.div_ceil(TILE), self.slots.next_multiple_of(TILE));
        let row = (head * tiles + dim / TILE) * slots + slot / E::SIDE * E::SIDE;
        row * TILE + dim % TILE * E::SIDE + slot % E::SIDE
    }

    /// Makes a ring of a chunk's own tokens ready for t of them: whatever an earlier chunk left behind them, in their last tile,
    /// is finite, so that nothing is what nobody sees of it.
    pub fn begin(&mut self, t: usize) {
        for head in 0..self.heads {
            let behind = self.scale_at(head, t)..self.scale_at(head, t.next_multiple_of(TILE));
            self.key_scales[behind.clone()].fill(1.0);
            self.value_scales[behind].fill(1.0);
        }
    }

    /// Puts one token's keys and values [g, h] into a slot.
    pub fn put(&mut self, slot: usize, keys: &[f32], values: &[f32]) {
        let all = keys.chunks_exact(self.width).zip(values.chunks_exact(self.width));
        for (head, (key, value)) in all.enumerate() {
            self.put_head(head, slot, key, value);
        }
    }

    /// The same for one head.
    fn put_head(&mut self, head: usize, slot: usize, key: &[f32], value: &[f32]) {
        let (key_scale, value_scale) = (E::scale(key), E::scale(value));
        for (dim, (key, value)) in key.iter().zip(value).enumerate() {
            let (key_at, value_at) = (self.key_at(head, slot, dim), self.value_at(head, slot, dim));
            self.keys[key_at] = E::round(*key, key_scale);
            self.values[value_at] = E::round(*value, value_scale);
        }
        let at = self.scale_at(head, slot);
        (self.key_scales[at], self.value_scales[at]) = (key_scale, value_scale);
    }

    /// Copies one slot of another ring of the same shape but for its number of slots.
    fn take(&mut self, slot: usize, other: &Self, from: usize) {
        for head in 0..self.heads {
            for dim in 0..self.width {
                let at = self.key_at(head, slot, dim);
                self.keys[at] = other.keys[other.key_at(head, from, dim)];
                let at = self.value_at(head, slot, dim);
                self.values[at] = other.values[other.value_at(head, from, dim)];
            }
            let (at, from) = (self.scale_at(head, slot), other.scale_at(head, from));
            self.key_scales[at] = other.key_scales[from];
            self.value_scales[at] = other.value_scales[from];
        }
    }

    /// Moves on by the t tokens in `new`, the first of which is number `past`.
    pub fn append(&mut self, new: &Self, t: usize, past: u64) {
        for token in t.saturating_sub(self.slots)..t {
            self.take(((past + token as u64) % self.slots as u64) as usize, new, token);
        }
    }

    /// [g, w, h]
    pub fn shape(&self) -> [usize; 3] {
        [self.heads, self.slots, self.width]
    }

    /// Elements of the keys, or of the values.
    pub fn len(&self) -> usize {
        self.heads * self.slots * self.width
    }

    /// Keys and values [g, w, h] after `past` tokens, the newest last; zeros stand before the first.
    pub fn in_order(&self, past: u64) -> (Vec<f32>, Vec<f32>) {
        let (mut keys, mut values) = (vec![0.0; self.len()], vec![0.0; self.len()]);
        for (head, place, slot) in self.places(past) {
            let (at, scales) = ((head * self.slots + place) * self.width, self.scale_at(head, slot));
            for dim in 0..self.width {
                let (key, value) =
                    (self.keys[self.key_at(head, slot, dim)], self.values[self.value_at(head, slot, dim)]);
                keys[at + dim] = key.times(self.key_scales[scales]);
                values[at + dim] = value.times(self.value_scales[scales]);
            }
        }
        (keys, values)
    }

    /// Takes what [`Ring::in_order`] gave after as many tokens.
    pub fn fill_in_order(&mut self, past: u64, keys: &[f32], values: &[f32]) {
        for (head, place, slot) in self.places(past) {
            let at = (head * self.slots + place) * self.width;
            self.put_head(head, slot, &keys[at..][..self.width], &values[at..][..self.width]);
        }
    }

    /// (head, place in order of time, slot) of every token that is held after `past` tokens.
    fn places(&self, past: u64) -> impl Iterator<Item = (usize, usize, usize)> + use<E> {
        let (heads, slots) = (self.heads, self.slots as u64);
        let used = past.min(slots);
        let place = move |i: u64| ((slots - used + i) as usize, ((past - used + i) % slots) as usize);
        (0..heads).flat_map(move |head| (0..used).map(move |i| (head, place(i).0, place(i).1)))
    }

    /// The first slots of a head, and what is left of their last tile.
    fn part(&self, head: usize, slots: usize) -> Part<'_, E> {
        let (slots, scales) = (slots.next_multiple_of(TILE), self.scale_at(head, 0));
        let padded = self.slots.next_multiple_of(TILE);
        Part {
            keys: &self.keys[self.key_at(head, 0, 0)..][..slots * self.width.next_multiple_of(E::SIDE)],
            values: &self.values[self.value_at(head, 0, 0)..][..padded * self.width.next_multiple_of(TILE)],
            stride: padded * TILE,
            key_scales: &self.key_scales[scales..][..slots],
            value_scales: &self.value_scales[scales..][..slots],
        }
    }
}
