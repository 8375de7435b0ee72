//! From logits to the next token, or to the probability of a set of tokens.
//!
//! The same seed and the same logits give the same tokens. Temperature 0 always takes the likeliest token and draws nothing.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Predictions at one position: `[v]` values, each within ±`logits_soft_cap`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits(Vec<f32>);

impl Logits {
    /// Logits made elsewhere.
    pub fn new(values: Vec<f32>) -> Self {
        Self(values)
    }

    /// One for each token of the vocabulary.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// To be overwritten by the next prediction.
    pub(super) fn buffer(&mut self) -> &mut Vec<f32> {
        &mut self.0
    }

    /// The likeliest token; the first of several that are equal.
    pub fn argmax(&self) -> u32 {
        let best = self
            .0
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (id, &value)| if value > best.1 { (id, value) } else { best });
        best.0 as u32
    }

    /// ln Σ exp(l) over some tokens; −∞ for none. Tokens outside the vocabulary count as impossible.
    pub fn log_sum_exp(&self, ids: &[u32]) -> f64 {
        log_sum_exp(ids.iter().filter_map(|&id| self.0.get(id as usize).copied()))
    }

    /// Log-odds of some tokens against others, in nats: above 0 when `yes` are together likelier than `no`.
    pub fn log_odds(&self, yes: &[u32], no: &[u32]) -> f64 {
        self.log_sum_exp(yes) - self.log_sum_exp(no)
    }

    /// ln p of a token, in nats; its negative is the surprisal.
    pub fn log_probability(&self, id: u32) -> f64 {
        log_probability(&self.0, id)
    }
}

/// ln p of a token by the logits of all.
pub(crate) fn log_probability(logits: &[f32], id: u32) -> f64 {
    let logit = logits.get(id as usize).map_or(f64::NEG_INFINITY, |logit| f64::from(*logit));
    logit - log_sum_exp(logits.iter().copied())
}

fn log_sum_exp(values: impl Iterator<Item = f32> + Clone) -> f64 {
    let max = values.clone().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    f64::from(max) + values.map(|value| f64::from(value - max).exp()).sum::<f64>().ln()
}

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0: always the likeliest token; 1: as the model predicts.
    pub temperature: f32,
    /// Only the k likeliest tokens are drawn from; 0: all.
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability are drawn from; 1: all.
    pub top_p: f32,
    /// Of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 }
    }
}

/// Chooses tokens.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: StdRng,
    /// Candidates and their weights, kept so that only the first choice allocates.
    tokens: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler at the beginning of its random numbers.
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, random: StdRng::seed_from_u64(sampling.seed), tokens: Vec::new() }
    }

    /// The next token.
    pub fn choose(&mut self, logits: &Logits) -> u32 {
        let Sampling { temperature, top_k, top_p, .. } = self.sampling;
        if temperature <= 0.0 || logits.0.is_empty() {
            return logits.argmax();
        }
        let tokens = &mut self.tokens;
        tokens.clear();
        tokens.extend((0..).zip(logits.0.iter().copied()));
        let likelier = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if (1..tokens.len()).contains(&top_k) {
            tokens.select_nth_unstable_by(top_k - 1, likelier);
            tokens.truncate(top_k);
        }
        tokens.sort_unstable_by(likelier);
        let max = tokens[0].1;
        tokens.iter_mut().for_each(|(_, value)| *value = ((*value - max) / temperature).exp());
        let total: f32 = tokens.iter().map(|(_, weight)| weight).sum();
        let mut reached = 0.0;
        let enough = tokens.iter().position(|(_, weight)| {
            reached += weight;
            reached >= top_p * total
        });
        tokens.truncate(enough.map_or(tokens.len(), |last| last + 1));
        let kept: f32 = tokens.iter().map(|(_, weight)| weight).sum();
        let mut left = self.random.random::<f32>() * kept;
        for &(id, weight) in &*tokens {
            left -= weight;
            if left < 0.0 {
                return id;
            }
        }
        tokens[0].0
    }
}
