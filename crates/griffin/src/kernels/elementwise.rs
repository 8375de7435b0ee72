//! The layers' loops over channels, and exp with what is made of it, as wide as the processor allows.
//!
//! Nothing is allocated; a slice may have any length. Results of two kernels differ by rounding only. Equation numbers are those of
//! Griffin, arXiv 2402.19427.

use super::Kernel;
use super::simd::{ROUND, Simd, SimdTask};

/// e^x in [1.2e-38, 3e38] to 2 units in the last place; x is held within ±87.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let (p, scale) = exp_parts(s, x);
    s.fma(p, scale, scale)
}

/// e^x − 1, without loss for small x.
#[inline(always)]
fn exp_m1<S: Simd>(s: S, x: S::V) -> S::V {
    let (p, scale) = exp_parts(s, x);
    s.fma(p, scale, s.sub(scale, s.splat(1.0)))
}

/// (e^r − 1, 2ⁿ) with x = n·ln 2 + r and |r| ≤ ln 2 / 2; the remainder by Taylor's series to r⁷.
#[inline(always)]
fn exp_parts<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = s.max(s.min(x, s.splat(87.0)), s.splat(-87.0));
    let shifted = s.fma(x, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(shifted, s.splat(ROUND));
    let r = s.fma(n, s.splat(-LN_2_HIGH), x);
    let r = s.fma(n, s.splat(-LN_2_LOW), r);
    let mut p = s.splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0] {
        p = s.fma(p, r, s.splat(c));
    }
    (s.mul(p, r), s.exp2_rounded(shifted))
}

/// 1 / (1 + e^−x).
#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// The tanh form of GELU: 0.5·x·(1 + tanh z) = x·σ(2z), z = √(2/π)·(x + 0.044715·x³).
#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    const TWO_SQRT_2_OVER_PI: f32 = 1.595_769_2;
    let cubic = s.fma(s.mul(s.mul(x, x), x), s.splat(0.044_715), x);
    s.mul(x, sigmoid(s, s.mul(cubic, s.splat(TWO_SQRT_2_OVER_PI))))
}

/// Loads what is left of a slice, followed by zeros.
#[inline(always)]
fn load<S: Simd>(s: S, from: &[f32]) -> S::V {
    if from.len() >= S::N {
        return s.load(from);
    }
    let mut padded = [0f32; 16];
    padded[..from.len()].copy_from_slice(from);
    s.load(&padded)
}

#[inline(always)]
fn store<S: Simd>(s: S, v: S::V, to: &mut [f32]) {
    if to.len() >= S::N {
        return s.store(v, to);
    }
    let mut padded = [0f32; 16];
    s.store(v, &mut padded);
    let left = to.len();
    to.copy_from_slice(&padded[..left]);
}

/// out ← gelu(gate)·x, gate being what `gate` held before.
pub(crate) fn gelu_gated(kernel: Kernel, gate: &mut [f32], x: &[f32]) {
    struct Gated<'a>(&'a mut [f32], &'a [f32]);
    impl SimdTask for Gated<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for (gate, x) in self.0.chunks_mut(S::N).zip(self.1.chunks(S::N)) {
                let y = s.mul(gelu(s, load(s, gate)), load(s, x));
                store(s, y, gate);
            }
        }
    }
    assert_eq!(gate.len(), x.len());
    kernel.run(Gated(gate, x));
}

/// out ← x·rsqrt(mean x² + ε)·weight, one row.
pub(crate) fn rms_norm(kernel: Kernel, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    struct Norm<'a>(&'a [f32], &'a [f32], f32, &'a mut [f32]);
    impl SimdTask for Norm<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Self(x, weight, eps, out) = self;
            let mut squares = s.splat(0.0);
            for x in x.chunks(S::N) {
                let x = load(s, x);
                squares = s.fma(x, x, squares);
            }
            let scale = s.splat(1.0 / (s.sum(squares) / x.len() as f32 + eps).sqrt());
            for ((x, weight), out) in x.chunks(S::N).zip(weight.chunks(S::N)).zip(out.chunks_mut(S::N)) {
                store(s, s.mul(s.mul(load(s, x), scale), load(s, weight)), out);
            }
        }
    }
    assert!(x.len() == weight.len() && x.len() == out.len());
    kernel.run(Norm(x, weight, eps, out));
}

/// x ← x + y.
pub(crate) fn add(kernel: Kernel, x: &mut [f32], y: &[f32]) {
    struct Add<'a>(&'a mut [f32], &'a [f32]);
    impl SimdTask for Add<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for (x, y) in self.0.chunks_mut(S::N).zip(self.1.chunks(S::N)) {
                store(s, s.add(load(s, x), load(s, y)), x);
            }
        }
    }
    assert_eq!(x.len(), y.len());
    kernel.run(Add(x, y));
}

/// y ← y + w·x, channel by channel: one tap of a depthwise convolution.
pub(crate) fn tap(kernel: Kernel, y: &mut [f32], w: &[f32], x: &[f32]) {
    struct Tap<'a>(&'a mut [f32], &'a [f32], &'a [f32]);
    impl SimdTask for Tap<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for ((y, w), x) in self.0.chunks_mut(S::N).zip(self.1.chunks(S::N)).zip(self.2.chunks(S::N)) {
                store(s, s.fma(load(s, w), load(s, x), load(s, y)), y);
            }
        }
    }
    assert!(y.len() == w.len() && y.len() == x.len());
    kernel.run(Tap(y, w, x));
}

/// The gates of one token of the recurrence.
pub(crate) struct RgLruGates<'a> {
    /// The input gate before its σ [r]; becomes √(1 − a²)·i·u, the gated input.
    pub input: &'a mut [f32],
    /// The recurrence gate before its σ [r]; becomes a, the share of h that is kept.
    pub recurrence: &'a mut [f32],
    /// The convolved input u [r].
    pub u: &'a [f32],
    /// −c·softplus(Λ) [r].
    pub log_a: &'a [f32],
    /// The first token of a stream: a = 0, and the input comes in whole.
    pub first: bool,
}

impl RgLruGates<'_> {
    pub(crate) fn compute(self, kernel: Kernel) {
        let r = self.input.len();
        assert_eq!([self.recurrence.len(), self.u.len(), self.log_a.len()], [r; 3]);
        kernel.run(self);
    }
}

impl SimdTask for RgLruGates<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let zero = s.splat(0.0);
        let one = s.splat(1.0);
        let rest = self.u.chunks(S::N).zip(self.log_a.chunks(S::N));
        let gates = self.input.chunks_mut(S::N).zip(self.recurrence.chunks_mut(S::N));
        for ((input, recurrence), (u, log_a)) in gates.zip(rest) {
            let i = sigmoid(s, load(s, input)); // (2)
            let r_gate = sigmoid(s, load(s, recurrence)); // (1)
            let log_a = s.mul(load(s, log_a), r_gate); // (3): a = exp(−c·softplus(Λ)·r)
            let (a, keep) = if self.first {
                (zero, one)
            } else {
                // √(1 − a²): from the logarithm, for a itself rounds to 1 where the memory is long.
                let keep = s.sub(zero, exp_m1(s, s.add(log_a, log_a)));
                (exp(s, log_a), s.sqrt(s.max(keep, zero)))
            };
            store(s, s.mul(keep, s.mul(i, load(s, u))), input);
            store(s, a, recurrence);
        }
    }
}

/// One token of the recurrence: h ← a·h + the gated input (4), and `out` becomes the new h.
pub(crate) fn recur(kernel: Kernel, a: &[f32], incoming: &[f32], h: &mut [f32], out: &mut [f32]) {
    struct Recur<'a>(&'a [f32], &'a [f32], &'a mut [f32], &'a mut [f32]);
    impl SimdTask for Recur<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let read = self.0.chunks(S::N).zip(self.1.chunks(S::N));
            let written = self.2.chunks_mut(S::N).zip(self.3.chunks_mut(S::N));
            for ((a, incoming), (h, out)) in read.zip(written) {
                let new = s.fma(load(s, a), load(s, h), load(s, incoming));
                store(s, new, h);
                store(s, new, out);
            }
        }
    }
    assert_eq!([a.len(), incoming.len(), out.len()], [h.len(); 3]);
    kernel.run(Recur(a, incoming, h, out));
}

/// Scores become probabilities, in place.
#[inline(always)]
pub(crate) fn softmax<S: Simd>(s: S, scores: &mut [f32]) {
    let mut largest = s.splat(f32::MIN);
    let (whole, rest) = scores.split_at(scores.len() / S::N * S::N);
    for x in whole.chunks_exact(S::N) {
        largest = s.max(largest, s.load(x));
    }
    let largest = rest.iter().copied().fold(s.largest(largest), f32::max);
    let mut sum = s.splat(0.0);
    for x in scores.chunks_exact_mut(S::N) {
        let e = exp(s, s.sub(s.load(x), s.splat(largest)));
        sum = s.add(sum, e);
        s.store(e, x);
    }
    debug_assert!(scores.len().is_multiple_of(S::N));
    let scale = s.splat(1.0 / s.sum(sum));
    for x in scores.chunks_exact_mut(S::N) {
        let p = s.mul(s.load(x), scale);
        s.store(p, x);
    }
}

/// l ← cap·tanh(l / cap).
pub(crate) fn soft_cap(kernel: Kernel, logits: &mut [f32], cap: f32) {
    struct Cap<'a>(&'a mut [f32], f32);
    impl SimdTask for Cap<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let twice = s.splat(2.0 / self.1);
            let cap = s.splat(self.1);
            for x in self.0.chunks_mut(S::N) {
                // tanh z = (e^2z − 1) / (e^2z + 1)
                let e = exp_m1(s, s.mul(load(s, x), twice));
                let y = s.mul(cap, s.div(e, s.add(e, s.splat(2.0))));
                store(s, y, x);
            }
        }
    }
    kernel.run(Cap(logits, cap));
}

#[cfg(test)]
mod age;

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
            let input = vec![0.3; r];
            let recurrence = vec![-2.0; r];
            let u = vec![0.7; r];
            let mut h = vec![0.0; r];
            let mut out = vec![0.0; r];
            let mut truth = vec![0f64; r];
            for step in 0..1_000 {
                let first = step == 0;
                let mut incoming = input.clone();
                let mut a = recurrence.clone();
                RgLruGates { input: &mut incoming, recurrence: &mut a, u: &u, log_a: &log_a, first }.compute(kernel);
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
