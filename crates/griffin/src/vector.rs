//! The layers' arithmetic on slices, as wide as the processor allows.
//!
//! Owns the loops over channels, and exp and what is made of it. Refuses to know of weights, blocks or states. Invariants:
//! nothing is allocated; a slice may have any length; results of two kernels differ by rounding only.
//!
//! Equation numbers are those of Griffin, arXiv 2402.19427.

use super::kernel::Kernel;
use super::kernel::lanes::{self, Lanes, ROUND, Work};

/// e^x in [1.2e-38, 3e38] to 2 units in the last place; x is held within ±87.
#[inline(always)]
pub fn exp<L: Lanes>(l: L, x: L::V) -> L::V {
    let (p, scale) = exp_parts(l, x);
    l.fma(p, scale, scale)
}

/// e^x − 1, without loss for small x.
#[inline(always)]
fn exp_m1<L: Lanes>(l: L, x: L::V) -> L::V {
    let (p, scale) = exp_parts(l, x);
    l.fma(p, scale, l.sub(scale, l.splat(1.0)))
}

/// (e^r − 1, 2ⁿ) with x = n·ln 2 + r and |r| ≤ ln 2 / 2; the remainder by Taylor's series to r⁷.
#[inline(always)]
fn exp_parts<L: Lanes>(l: L, x: L::V) -> (L::V, L::V) {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = l.max(l.min(x, l.splat(87.0)), l.splat(-87.0));
    let shifted = l.fma(x, l.splat(std::f32::consts::LOG2_E), l.splat(ROUND));
    let n = l.sub(shifted, l.splat(ROUND));
    let r = l.fma(n, l.splat(-LN_2_HIGH), x);
    let r = l.fma(n, l.splat(-LN_2_LOW), r);
    let mut p = l.splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0] {
        p = l.fma(p, r, l.splat(c));
    }
    (l.mul(p, r), l.exp2_rounded(shifted))
}

/// 1 / (1 + e^−x).
#[inline(always)]
fn sigmoid<L: Lanes>(l: L, x: L::V) -> L::V {
    let one = l.splat(1.0);
    l.div(one, l.add(one, exp(l, l.sub(l.splat(0.0), x))))
}

/// The tanh form of GELU: 0.5·x·(1 + tanh z) = x·σ(2z), z = √(2/π)·(x + 0.044715·x³).
#[inline(always)]
fn gelu<L: Lanes>(l: L, x: L::V) -> L::V {
    const TWO_SQRT_2_OVER_PI: f32 = 1.595_769_2;
    let cubic = l.fma(l.mul(l.mul(x, x), x), l.splat(0.044_715), x);
    l.mul(x, sigmoid(l, l.mul(cubic, l.splat(TWO_SQRT_2_OVER_PI))))
}

/// Loads what is left of a slice; zeros stand behind it.
#[inline(always)]
fn load<L: Lanes>(l: L, from: &[f32]) -> L::V {
    if from.len() >= L::N {
        return l.load(from);
    }
    let mut padded = [0f32; 16];
    padded[..from.len()].copy_from_slice(from);
    l.load(&padded)
}

#[inline(always)]
fn store<L: Lanes>(l: L, v: L::V, to: &mut [f32]) {
    if to.len() >= L::N {
        return l.store(v, to);
    }
    let mut padded = [0f32; 16];
    l.store(v, &mut padded);
    let left = to.len();
    to.copy_from_slice(&padded[..left]);
}

/// out ← gelu(gate)·x, gate being what `gate` held before.
pub fn gelu_gated(kernel: Kernel, gate: &mut [f32], x: &[f32]) {
    struct Gated<'a>(&'a mut [f32], &'a [f32]);
    impl Work for Gated<'_> {
        type Out = ();
        #[inline(always)]
        fn run<L: Lanes>(self, l: L) {
            for (gate, x) in self.0.chunks_mut(L::N).zip(self.1.chunks(L::N)) {
                let y = l.mul(gelu(l, load(l, gate)), load(l, x));
                store(l, y, gate);
            }
        }
    }
    assert_eq!(gate.len(), x.len());
    lanes::run(kernel, Gated(gate, x));
}

/// out ← x·rsqrt(mean x² + ε)·weight, one row.
pub fn rms_norm(kernel: Kernel, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    struct Norm<'a>(&'a [f32], &'a [f32], f32, &'a mut [f32]);
    impl Work for Norm<'_> {
        type Out = ();
        #[inline(always)]
        fn run<L: Lanes>(self, l: L) {
            let Self(x, weight, eps, out) = self;
            let mut squares = l.splat(0.0);
            for x in x.chunks(L::N) {
                let x = load(l, x);
                squares = l.fma(x, x, squares);
            }
            let scale = l.splat(1.0 / (l.sum(squares) / x.len() as f32 + eps).sqrt());
            for ((x, weight), out) in x.chunks(L::N).zip(weight.chunks(L::N)).zip(out.chunks_mut(L::N)) {
                store(l, l.mul(l.mul(load(l, x), scale), load(l, weight)), out);
            }
        }
    }
    assert!(x.len() == weight.len() && x.len() == out.len());
    lanes::run(kernel, Norm(x, weight, eps, out));
}

/// x ← x + y.
pub fn add(kernel: Kernel, x: &mut [f32], y: &[f32]) {
    struct Add<'a>(&'a mut [f32], &'a [f32]);
    impl Work for Add<'_> {
        type Out = ();
        #[inline(always)]
        fn run<L: Lanes>(self, l: L) {
            for (x, y) in self.0.chunks_mut(L::N).zip(self.1.chunks(L::N)) {
                store(l, l.add(load(l, x), load(l, y)), x);
            }
        }
    }
    assert_eq!(x.len(), y.len());
    lanes::run(kernel, Add(x, y));
}

/// y ← y + w·x, channel by channel: one tap of a depthwise convolution.
pub fn tap(kernel: Kernel, y: &mut [f32], w: &[f32], x: &[f32]) {
    struct Tap<'a>(&'a mut [f32], &'a [f32], &'a [f32]);
    impl Work for Tap<'_> {
        type Out = ();
        #[inline(always)]
        fn run<L: Lanes>(self, l: L) {
            for ((y, w), x) in self.0.chunks_mut(L::N).zip(self.1.chunks(L::N)).zip(self.2.chunks(L::N)) {
                store(l, l.fma(load(l, w), load(l, x), load(l, y)), y);
            }
        }
    }
    assert!(y.len() == w.len() && y.len() == x.len());
    lanes::run(kernel, Tap(y, w, x));
}

/// The gates of one token of the recurrence.
pub struct Gates<'a> {
    /// The input gate before its σ [r]; becomes √(1 − a²)·i·u, what comes in.
    pub input: &'a mut [f32],
    /// The recurrence gate before its σ [r]; becomes a, what stays.
    pub recurrence: &'a mut [f32],
    /// The convolved input u [r].
    pub u: &'a [f32],
    /// −c·softplus(Λ) [r].
    pub log_a: &'a [f32],
    /// The first token of a stream: a = 0, and the input comes in whole.
    pub first: bool,
}

impl Gates<'_> {
    pub fn open(self, kernel: Kernel) {
        let r = self.input.len();
        assert_eq!([self.recurrence.len(), self.u.len(), self.log_a.len()], [r; 3]);
        lanes::run(kernel, self);
    }
}

impl Work for Gates<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (zero, one) = (l.splat(0.0), l.splat(1.0));
        let rest = self.u.chunks(L::N).zip(self.log_a.chunks(L::N));
        let gates = self.input.chunks_mut(L::N).zip(self.recurrence.chunks_mut(L::N));
        for ((input, recurrence), (u, log_a)) in gates.zip(rest) {
            let i = sigmoid(l, load(l, input)); // (2)
            let r_gate = sigmoid(l, load(l, recurrence)); // (1)
            let log_a = l.mul(load(l, log_a), r_gate); // (3): a = exp(−c·softplus(Λ)·r)
            let (a, keep) = if self.first {
                (zero, one)
            } else {
                // √(1 − a²): from the logarithm, for a itself rounds to 1 where memory is long.
                let keep = l.sub(zero, exp_m1(l, l.add(log_a, log_a)));
                (exp(l, log_a), l.sqrt(l.max(keep, zero)))
            };
            store(l, l.mul(keep, l.mul(i, load(l, u))), input);
            store(l, a, recurrence);
        }
    }
}

/// One token of the recurrence: h ← a·h + what comes in (4), and `out` becomes the new h.
pub fn recur(kernel: Kernel, a: &[f32], incoming: &[f32], h: &mut [f32], out: &mut [f32]) {
    struct Recur<'a>(&'a [f32], &'a [f32], &'a mut [f32], &'a mut [f32]);
    impl Work for Recur<'_> {
        type Out = ();
        #[inline(always)]
        fn run<L: Lanes>(self, l: L) {
            let read = self.0.chunks(L::N).zip(self.1.chunks(L::N));
            let written = self.2.chunks_mut(L::N).zip(self.3.chunks_mut(L::N));
            for ((a, incoming), (h, out)) in read.zip(written) {
                let new = l.fma(load(l, a), load(l, h), load(l, incoming));
                store(l, new, h);
                store(l, new, out);
            }
        }
    }
    assert_eq!([a.len(), incoming.len(), out.len()], [h.len(); 3]);
    lanes::run(kernel, Recur(a, incoming, h, out));
}

/// Scores become probabilities, in place.
#[inline(always)]
pub fn softmax<L: Lanes>(l: L, scores: &mut [f32]) {
    let mut largest = l.splat(f32::MIN);
    let (whole, rest) = scores.split_at(scores.len() / L::N * L::N);
    for x in whole.chunks_exact(L::N) {
        largest = l.max(largest, l.load(x));
    }
    let largest = rest.iter().copied().fold(l.largest(largest), f32::max);
    let mut sum = l.splat(0.0);
    for x in scores.chunks_exact_mut(L::N) {
        let e = exp(l, l.sub(l.load(x), l.splat(largest)));
        sum = l.add(sum, e);
        l.store(e, x);
    }
    debug_assert!(scores.len().is_multiple_of(L::N));
    let scale = l.splat(1.0 / l.sum(sum));
    for x in scores.chunks_exact_mut(L::N) {
        let p = l.mul(l.load(x), scale);
        l.store(p, x);
    }
}

/// l ← cap·tanh(l / cap).
pub fn soft_cap(kernel: Kernel, logits: &mut [f32], cap: f32) {
    struct Cap<'a>(&'a mut [f32], f32);
    impl Work for Cap<'_> {
        type Out = ();
        #[inline(always)]
        fn run<L: Lanes>(self, l: L) {
            let (twice, cap) = (l.splat(2.0 / self.1), l.splat(self.1));
            for x in self.0.chunks_mut(L::N) {
                // tanh z = (e^2z − 1) / (e^2z + 1)
                let e = exp_m1(l, l.mul(load(l, x), twice));
                let y = l.mul(cap, l.div(e, l.add(e, l.splat(2.0))));
                store(l, y, x);
            }
        }
    }
    lanes::run(kernel, Cap(logits, cap));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: impl Fn(Kernel, &mut [f32]), truth: impl Fn(f64) -> f64, bound: f64) {
        for kernel in Kernel::available() {
            let inputs: Vec<f32> = (-4_001..4_001).map(|i| i as f32 * 0.01).chain([1e-6, -1e-6, 0.0]).collect();
            let mut outputs = inputs.clone();
            what(kernel, &mut outputs);
            for (x, y) in inputs.iter().zip(&outputs) {
                let expected = truth(f64::from(*x));
                let error = (f64::from(*y) - expected).abs();
                assert!(error <= bound * expected.abs().max(1e-3), "{kernel:?}: f({x}) = {y}, not {expected}");
            }
        }
    }

    #[test]
    fn gelu_is_the_tanh_form_to_a_few_units_in_the_last_place() {
        let truth = |x: f64| {
            let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            x / (1.0 + (-2.0 * z).exp())
        };
        check(|kernel, x| gelu_gated(kernel, x, &vec![1.0; x.len()]), truth, 4e-6);
    }

    #[test]
    fn logits_are_bent_within_the_cap() {
        check(|kernel, x| soft_cap(kernel, x, 30.0), |x| 30.0 * (x / 30.0).tanh(), 1e-6);
    }

    #[test]
    fn the_recurrence_keeps_what_f64_keeps_even_where_memory_is_long() {
        for kernel in Kernel::available() {
            let r = 19;
            let log_a: Vec<f32> = (0..r).map(|i| -8.0 * 10f32.powf(-(i as f32) / 3.0)).collect();
            let (input, recurrence, u) = (vec![0.3; r], vec![-2.0; r], vec![0.7; r]);
            let (mut h, mut out, mut truth) = (vec![0.0; r], vec![0.0; r], vec![0f64; r]);
            for step in 0..1_000 {
                let first = step == 0;
                let (mut incoming, mut a) = (input.clone(), recurrence.clone());
                Gates { input: &mut incoming, recurrence: &mut a, u: &u, log_a: &log_a, first }.open(kernel);
                recur(kernel, &a, &incoming, &mut h, &mut out);
                for (truth, log_a) in truth.iter_mut().zip(&log_a) {
                    let log_a = f64::from(*log_a) / (1.0 + 2f64.exp());
                    let (a, keep) = if first { (0.0, 1.0) } else { (log_a.exp(), (-(2.0 * log_a).exp_m1()).sqrt()) };
                    *truth = a * *truth + keep * f64::from(0.7f32) / (1.0 + (-f64::from(0.3f32)).exp());
                }
            }
            assert_eq!(h, out);
            for (h, truth) in h.iter().zip(&truth) {
                assert!((f64::from(*h) - truth).abs() < 1e-4 * truth.abs(), "{kernel:?}: {h}, not {truth}");
            }
        }
    }
}
