//! Who sees which keys, and what a query makes of them.
//!
//! Owns the window and the softmax over it. Refuses to know what keys are made of. Invariant: a query sees its own key and the
//! w before it, never others.

use std::cell::Cell;

use super::element::{Element, Room, Rows};
use super::{Ring, TILE};
use crate::kernel::Kernel;
use crate::kernel::lanes::{self, Lanes, Work};
use crate::vector;

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

/// Queries of one or several tokens of the chunk.
pub struct Queries<'a> {
    /// The first token.
    pub token: usize,
    /// The first key head, and how many there are.
    pub key_head: usize,
    pub key_heads: usize,
    /// Query heads of a token that share a key head.
    pub share: usize,
    /// [t, g, share, h], rotated and scaled.
    pub q: &'a [f32],
}

impl<E: Element> Sight<'_, E> {
    /// What the queries mix of all they see: → out [t, g, share, h]. Keys and values are read once for all of them.
    pub fn attend(&self, kernel: Kernel, queries: Queries<'_>, out: &mut [f32]) {
        lanes::run(kernel, Attend { sight: self, queries, out });
    }

    /// Takes from the scores of a query of `token` [slots of the ring, of the chunk, either padded] what it does not see.
    #[inline(always)]
    fn hide(&self, token: usize, scores: &mut [f32]) {
        let window = self.ring.slots;
        let used = self.past.min(window as u64) as usize;
        let (old, own) = scores.split_at_mut(used.next_multiple_of(TILE));
        old[used..].fill(UNSEEN);
        own[token + 1..].fill(UNSEEN);
        own[..token.saturating_sub(window)].fill(UNSEEN);
        // The oldest slots of the ring, which may go round its end.
        let hidden = (used + token).saturating_sub(window).min(used);
        let oldest = ((self.past - used as u64) % window as u64) as usize;
        let first = hidden.min(used - oldest.min(used));
        old[oldest..oldest + first].fill(UNSEEN);
        old[..hidden - first].fill(UNSEEN);
    }
}

thread_local! {
    /// Scores of some heads, and room beside them. One a thread of the model's, kept for good.
    static SCRATCH: Cell<(Vec<f32>, Room)> = const { Cell::new((Vec::new(), Room::new())) };
}

/// What some queries make of their sight.
struct Attend<'a, E> {
    sight: &'a Sight<'a, E>,
    queries: Queries<'a>,
    out: &'a mut [f32],
}

impl<E: Element> Work for Attend<'_, E> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let Queries { key_heads, share, q, .. } = self.queries;
        let width = self.sight.ring.width;
        // Not in a closure: it would be compiled without the instructions, and every one of them become a call.
        let (mut scores, mut room) = SCRATCH.take();
        for head in 0..key_heads {
            let rows = Rows { head, key_heads, share, width, count: q.len() / key_heads / width };
            // As many at once as there are registers for their sums, and none left over.
            match rows.count {
                n if n.is_multiple_of(5) => self.rows::<L, 5>(l, rows, &mut scores, &mut room),
                n if n.is_multiple_of(4) => self.rows::<L, 4>(l, rows, &mut scores, &mut room),
                n if n.is_multiple_of(3) => self.rows::<L, 3>(l, rows, &mut scores, &mut room),
                n if n.is_multiple_of(2) => self.rows::<L, 2>(l, rows, &mut scores, &mut room),
                _ => self.rows::<L, 1>(l, rows, &mut scores, &mut room),
            }
        }
        SCRATCH.set((scores, room));
    }
}

impl<E: Element> Attend<'_, E> {
    /// The queries of one key head, R at a time.
    #[inline(always)]
    fn rows<L: Lanes, const R: usize>(&mut self, l: L, rows: Rows, scores: &mut Vec<f32>, room: &mut Room) {
        let Sight { ring, new, .. } = self.sight;
        let Queries { token, key_head, share, q, .. } = self.queries;
        let used = self.sight.past.min(ring.slots as u64) as usize;
        let old_keys = used.next_multiple_of(TILE);
        // What the last token sees of the chunk.
        let own = token + rows.count / share;
        let all = old_keys + own.next_multiple_of(TILE);
        let parts = [ring.part(key_head + rows.head, used), new.part(key_head + rows.head, own)];

        scores.resize(rows.count * all, 0.0); // [rows, all]
        E::score::<L, R>(l, rows, q, parts, room, scores);
        for (index, row) in scores.chunks_exact_mut(all).enumerate() {
            self.sight.hide(token + index / share, row);
            vector::softmax(l, row);
        }
        E::mix::<L, R>(l, rows, scores, parts, room, self.out);
    }
}
