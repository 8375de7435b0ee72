//! Attention against plain sums in f64.

use half::f16;
use proptest::prelude::*;

use super::{AttentionWindow, KvCache, KvElement, Queries};
use crate::kernels::Kernel;

fn vector(seed: usize, width: usize, size: f32) -> Vec<f32> {
    (0..width).map(|dim| ((seed * 7919 + dim * 104_729) % 2003) as f32 / 1001.0 * size - size).collect()
}

/// The keys and values of a head that token `token` of a chunk sees, from what the caches hold.
struct Seen {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Seen {
    fn new<E: KvElement>(attention: &AttentionWindow<'_, E>, head: usize, token: usize, h: usize) -> Self {
        let old = attention.cache.in_order(attention.past);
        let new = attention.new_keys.in_order(token as u64 + 1);
        let last = |all: &[f32], count: usize| {
            let head = &all[head * all.len() / KEY_HEADS..][..all.len() / KEY_HEADS];
            head[head.len() - count * h..].to_vec()
        };
        let window = attention.cache.shape()[1];
        let own = (token + 1).min(window + 1);
        let before = (attention.past as usize).min(window + 1 - own);
        Self {
            keys: [last(&old.keys, before), last(&new.keys, own)].concat(),
            values: [last(&old.values, before), last(&new.values, own)].concat(),
        }
    }

    /// What a query makes of it: for each dimension Σ p·v and Σ p·|v|.
    fn mixed(&self, q: &[f32]) -> Vec<(f64, f64)> {
        let h = q.len();
        let dot = |key: &[f32]| key.iter().zip(q).map(|(key, q)| f64::from(*key) * f64::from(*q)).sum::<f64>();
        let scores: Vec<f64> = self.keys.chunks_exact(h).map(dot).collect();
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let p: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f64 = p.iter().sum();
        let mut mixed = vec![(0.0, 0.0); h];
        for (p, values) in p.iter().zip(self.values.chunks_exact(h)) {
            for ((value, size), v) in mixed.iter_mut().zip(values) {
                *value += p / sum * f64::from(*v);
                *size += p / sum * f64::from(v.abs());
            }
        }
        mixed
    }
}

const KEY_HEADS: usize = 2;

/// Queries of `tokens` tokens from `token` on, `share` of each to a key head.
struct Case {
    window: usize,
    width: usize,
    share: usize,
    past: usize,
    token: usize,
    tokens: usize,
    keys: f32,
    values: f32,
    queries: f32,
}

fn compare<E: KvElement>(case: &Case, tolerance: f64) {
    let Case { window, width: h, share, past, token, tokens, .. } = *case;
    let chunk = token + tokens;
    let mut cache = KvCache::<E>::new(KEY_HEADS, h, window);
    let mut new = KvCache::new(KEY_HEADS, h, chunk);
    let put = |cache: &mut KvCache<E>, slot, i| {
        cache.put(slot, &vector(i, KEY_HEADS * h, case.keys), &vector(i + 5, KEY_HEADS * h, case.values));
    };
    (past.saturating_sub(window)..past).for_each(|i| put(&mut cache, i % window, i));
    (0..chunk).for_each(|i| put(&mut new, i, past + i));
    let q: Vec<f32> = (0..tokens * KEY_HEADS * share).flat_map(|row| vector(row + 77, h, case.queries)).collect();
    let attention = AttentionWindow { cache: &cache, new_keys: &new, past: past as u64 };
    // [token][head]
    let seen: Vec<[Seen; KEY_HEADS]> = (token..token + tokens)
        .map(|token| std::array::from_fn(|head| Seen::new(&attention, head, token, h)))
        .collect();
    let rows = q.chunks_exact(h).enumerate();
    let expected: Vec<_> =
        rows.map(|(row, q)| seen[row / share / KEY_HEADS][row / share % KEY_HEADS].mixed(q)).collect();
    for kernel in Kernel::available() {
        let mut out = vec![f32::NAN; q.len()];
        attention.attend(kernel, Queries { token, key_head: 0, key_heads: KEY_HEADS, share, q: &q }, &mut out);
        for (out, expected) in out.chunks_exact(h).zip(&expected) {
            for (out, (expected, size)) in out.iter().zip(expected) {
                let error = (f64::from(*out) - expected).abs();
                assert!(error <= tolerance * size, "{kernel}, {window} slots, {past} + {token}: {out}, not {expected}");
            }
        }
    }
}

#[test]
fn attention_is_that_of_f64_for_every_window_and_chunk() {
    for (window, width, share, tokens) in [(7, 2, 1, 1), (40, 17, 3, 2), (64, 32, 7, 1), (33, 8, 10, 2), (20, 8, 2, 9)]
    {
        for past in [0, 1, window - 1, window, 5 * window + 3] {
            for token in [0, 3, window + 2] {
                let case = Case { window, width, share, past, token, tokens, keys: 1.0, values: 2.0, queries: 0.5 };
                compare::<f32>(&case, 2e-5);
                compare::<i16>(&case, 2e-3);
            }
        }
    }
}

#[test]
fn no_sum_overflows_at_the_extremes() {
    // Queries as large as keys, all the same way, would be the largest sum; here 256 dimensions of it.
    for (keys, queries) in [(60_000.0, 1e-7), (1e-5, 1e3), (1.0, 0.01), (0.0, 1.0), (1.0, 0.0)] {
        for values in [65_504.0, 1e-4, 1.0] {
            let window = 2048;
            let width = 256;
            let share = 5;
            let past = 5000;
            let token = 62;
            let tokens = 2;
            compare::<i16>(&Case { window, width, share, past, token, tokens, keys, values, queries }, 2e-3);
        }
    }
}

#[test]
fn a_value_that_is_not_finite_makes_its_own_outputs_nan_and_no_later_ones() {
    let mut cache = KvCache::<i16>::new(1, 4, 16);
    let mut new = KvCache::<i16>::new(1, 4, 2);
    cache.put(0, &[1.0; 4], &[1.0; 4]);
    for kernel in Kernel::available() {
        let attend = |cache: &KvCache<i16>, new_keys: &KvCache<i16>| {
            let mut out = [0.0; 4];
            let queries = Queries { token: 0, key_head: 0, key_heads: 1, share: 1, q: &[1.0; 4] };
            AttentionWindow { cache, new_keys, past: 2 }.attend(kernel, queries, &mut out);
            out
        };
        for bad in [f32::NAN, f32::INFINITY] {
            new.begin(1);
            cache.put(1, &[1.0; 4], &[1.0, bad, 1.0, 1.0]);
            let out = attend(&cache, &new);
            assert!(out.iter().all(|x| x.is_nan()), "{kernel}: {out:?}");

            cache.put(1, &[1.0; 4], &[1.0; 4]);
            new.begin(2);
            new.put(1, &[1.0; 4], &[bad; 4]);
            new.begin(1);
            let out = attend(&cache, &new);
            assert!(out.iter().all(|x| x.is_finite()), "{kernel}: {out:?}");
        }
    }
}

proptest! {
    #[test]
    fn fixed_point_numbers_are_f16_and_do_not_change_by_rounding_again(vector in prop::collection::vec(any::<f32>(), 1..40), power in -40..20i32) {
        let finite: Vec<f32> = vector.iter().map(|x| if x.is_finite() { x % 2.0 * 2f32.powi(power) } else { 0.0 }).collect();
        let scale = i16::scale(&finite);
        let rounded: Vec<f32> = finite.iter().map(|x| i16::round(*x, scale).times(scale)).collect();
        let largest = finite.iter().fold(0f32, |max, x| max.max(x.abs()));
        for (x, rounded) in finite.iter().zip(&rounded) {
            prop_assert_eq!(f16::from_f32(*rounded).to_f32(), *rounded);
            let bound = (largest / 2046.0).max(2f32.powi(-25));
            prop_assert!(largest > 65_504.0 || (x - rounded).abs() <= bound, "{} became {}", x, rounded);
        }
        let again = i16::scale(&rounded);
        for rounded in rounded {
            prop_assert_eq!(i16::round(rounded, again).times(again), rounded);
        }
    }
}
