//! The recurrence after as many tokens as a talkative household says in years, against f64.

use super::*;

/// Channels; their memory is from 10 to 100,000 tokens long.
const CHANNELS: usize = 16;
/// Tokens after which the gates repeat.
const PERIOD: usize = 4_096;

/// A number in [0, 1) that looks random.
fn noise(seed: usize) -> f64 {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) as f64 / u64::MAX as f64
}

/// The gates of each token, and the same in f64.
struct Gates {
    a: Vec<f32>,
    incoming: Vec<f32>,
    exact_a: Vec<f64>,
    exact_incoming: Vec<f64>,
}

fn gates(kernel: Kernel) -> Gates {
    let values = PERIOD * CHANNELS;
    let log_a: Vec<f32> = (0..CHANNELS).map(|i| -2.0 * 10f32.powf(-1.0 - 4.0 * i as f32 / 15.0)).collect();
    let input: Vec<f32> = (0..values).map(|i| (4.0 * noise(i) - 2.0) as f32).collect();
    let recurrence: Vec<f32> = (0..values).map(|i| (2.0 * noise(i + values) - 1.0) as f32).collect();
    let u: Vec<f32> = (0..values).map(|i| (2.0 * noise(i + 2 * values) - 0.8) as f32).collect();
    let sigmoid = |x: f32| 1.0 / (1.0 + (-f64::from(x)).exp());
    let log = |i: usize| f64::from(log_a[i % CHANNELS]) * sigmoid(recurrence[i]);
    let exact_a = (0..values).map(|i| log(i).exp()).collect();
    let kept = |i: usize| (-(2.0 * log(i)).exp_m1()).sqrt();
    let exact_incoming = (0..values).map(|i| kept(i) * sigmoid(input[i]) * f64::from(u[i])).collect();
    let (mut a, mut incoming) = (recurrence.clone(), input.clone());
    for token in 0..PERIOD {
        let of_token = token * CHANNELS..(token + 1) * CHANNELS;
        let (input, recurrence) = (&mut incoming[of_token.clone()], &mut a[of_token.clone()]);
        RgLruGates { input, recurrence, u: &u[of_token], log_a: &log_a, first: false }.compute(kernel);
    }
    Gates { a, incoming, exact_a, exact_incoming }
}

/// Of a channel that forgets a hundred-thousandth with each token, a itself is off by up to 3e-8 and so what is kept in the long run by
/// up to 0.3 %. That error is there after 10⁵ tokens and does not grow.
#[test]
fn a_hundred_million_tokens_leave_what_f64_leaves() {
    for (kernel, most) in Kernel::available().map(|kernel| (kernel, 1_000_000)).chain([(Kernel::detect(), 100_000_000)])
    {
        let gates = gates(kernel);
        let (mut h, mut out, mut truth) = ([0f32; CHANNELS], [0f32; CHANNELS], [0f64; CHANNELS]);
        // What is said in one period says how large the values are.
        let mut largest = [0f64; CHANNELS];
        for token in 0..most {
            let at = token % PERIOD * CHANNELS;
            let next = at..at + CHANNELS;
            recur(kernel, &gates.a[next.clone()], &gates.incoming[next], &mut h, &mut out);
            for (channel, truth) in truth.iter_mut().enumerate() {
                *truth = gates.exact_a[at + channel] * *truth + gates.exact_incoming[at + channel];
                largest[channel] = largest[channel].max(truth.abs());
            }
            if [100_000, 1_000_000, 10_000_000, 100_000_000].contains(&(token + 1)) {
                for ((h, truth), largest) in h.iter().zip(truth).zip(largest) {
                    let error = (f64::from(*h) - truth).abs() / largest;
                    assert!(error < 3e-3, "{kernel:?}, after {} tokens: {h} instead of {truth}", token + 1);
                }
            }
        }
    }
}
