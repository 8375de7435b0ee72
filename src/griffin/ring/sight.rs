//! Who sees which keys, and what a query makes of them.
//!
//! Owns the window and the softmax over it. Refuses to know what keys are made of. Invariant: a query sees its own key and the
//! w before it, never others.

use std::cell::Cell;

use super::element::{Element, Room};
use super::{Ring, TILE};
use crate::griffin::kernel::Kernel;
use crate::griffin::kernel::lanes::{self, Lanes, Work};
use crate::griffin::vector;

/// Query heads that share one pass over the keys.
const ROWS: usize = 5;

/// The score of a key that a query does not see.
const UNSEEN: f32 = -1e30;

/// The keys that a chunk of tokens may look at.
pub struct Sight<'a, E> {
    /// The last w tokens before the chunk, in slots modulo w.
    pub ring: &'a Ring<E>,
    /// The chunk's own tokens, in order.
    pub new: &'a Ring<E>,
    /// Tokens before the chunk.
    pub past: u64,
}

impl<E: Element> Sight<'_, E> {
    /// What the `rows` query heads that share key head `head` mix for token `token` of the chunk: q [rows, h], rotated and
    /// scaled, → out [rows, h].
    pub fn attend(&self, kernel: Kernel, head: usize, token: usize, q: &[f32], out: &mut [f32]) {
        lanes::run(kernel, Attend { sight: self, head, token, q, out });
    }

    /// How many slots of the ring hold a token, and which of them the query of `token` no longer sees: (from, how many) modulo
    /// the used ones.
    fn seen(&self, token: usize) -> (usize, usize, usize) {
        let window = self.ring.slots as u64;
        let used = self.past.min(window);
        let hidden = (used + token as u64).saturating_sub(window).min(used);
        let oldest = (self.past - used) % window;
        (used as usize, oldest as usize, hidden as usize)
    }
}

thread_local! {
    /// Scores of some heads, and room beside them. One a thread of the model's, kept for good.
    static SCRATCH: Cell<(Vec<f32>, Room)> = const { Cell::new((Vec::new(), Room::new())) };
}

/// What some query heads that share keys make of a token's sight.
struct Attend<'a, E> {
    sight: &'a Sight<'a, E>,
    head: usize,
    token: usize,
    q: &'a [f32],
    out: &'a mut [f32],
}

impl<E: Element> Work for Attend<'_, E> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let h = self.sight.ring.width;
        // Not in a closure: it would be compiled without the instructions, and every one of them become a call.
        let (mut scores, mut room) = SCRATCH.take();
        for (q, out) in self.q.chunks(ROWS * h).zip(self.out.chunks_mut(ROWS * h)) {
            let some = Attend { sight: self.sight, head: self.head, token: self.token, q, out };
            match q.len() / h {
                5 => some.rows::<L, 5>(l, &mut scores, &mut room),
                4 => some.rows::<L, 4>(l, &mut scores, &mut room),
                3 => some.rows::<L, 3>(l, &mut scores, &mut room),
                2 => some.rows::<L, 2>(l, &mut scores, &mut room),
                _ => some.rows::<L, 1>(l, &mut scores, &mut room),
            }
        }
        SCRATCH.set((scores, room));
    }
}

impl<E: Element> Attend<'_, E> {
    /// R query heads at once.
    #[inline(always)]
    fn rows<L: Lanes, const R: usize>(self, l: L, scores: &mut Vec<f32>, room: &mut Room) {
        let Sight { ring, new, .. } = self.sight;
        let (used, oldest, hidden) = self.sight.seen(self.token);
        let own = self.token + 1;
        let old_keys = used.next_multiple_of(TILE);
        let all = old_keys + own.next_multiple_of(TILE);
        let parts = [ring.part(self.head, used), new.part(self.head, own)];

        scores.resize(R * all, 0.0); // [R, all]
        E::score::<L, R>(l, self.q, parts, room, scores);
        for row in scores.chunks_exact_mut(all) {
            row[used..old_keys].fill(UNSEEN);
            row[old_keys + own..].fill(UNSEEN);
            row[old_keys..old_keys + self.token.saturating_sub(ring.slots)].fill(UNSEEN);
            // The oldest slots of the ring, which may go round its end.
            let first = hidden.min(used - oldest.min(used));
            row[oldest..oldest + first].fill(UNSEEN);
            row[..hidden - first].fill(UNSEEN);
            vector::softmax(l, row);
        }
        E::mix::<L, R>(l, scores, parts, room, self.out);
    }
}
