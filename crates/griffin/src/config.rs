//! The shape of a model, read from Hugging Face's `config.json`.
//!
//! Owns every name that file has for one thing, the defaults, and what is absurd. Refuses to touch weights. Invariant: a
//! [`Config`] that exists can be built: widths divide, sizes are bounded, the pattern covers every layer.

mod keys;

use std::path::Path;

use super::Error;
use super::attached::{Attached, required};
use super::gguf::{self, Value as Meta};
use keys::Keys;

/// Keys and values that a state may have: twenty times those of the largest model there is.
const STATE_MAX: usize = 1 << 28;

/// What a layer mixes time with (section 2.3 of the paper).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Temporal {
    Recurrent,
    Attention,
}

impl Temporal {
    fn name(self) -> &'static str {
        match self {
            Self::Recurrent => "recurrent",
            Self::Attention => "attention",
        }
    }
}

/// Everything that decides shapes and arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// v: tokens in the vocabulary.
    pub vocab: usize,
    /// d: width of the residual stream.
    pub width: usize,
    /// r: width of the recurrence; the paper's D_RNN.
    pub lru_width: usize,
    /// e: width of the gated MLP (half of what Hugging Face calls `intermediate_size`).
    pub mlp_width: usize,
    /// n: query heads, and blocks of the gates' block-diagonal matrices.
    pub heads: usize,
    /// g: heads that keys and values have; 1 in every published checkpoint.
    pub kv_heads: usize,
    /// h: width of a head.
    pub head_dim: usize,
    /// How many dimensions of a head are rotated; even.
    pub rotary_dim: usize,
    pub rope_base: f64,
    /// w: keys before its own that a query sees.
    pub window: usize,
    /// c: taps of the convolution, the current token's included.
    pub conv_width: usize,
    pub norm_eps: f64,
    /// Logits are bent into ±this.
    pub soft_cap: f32,
    /// q, k and v carry a bias.
    pub attention_bias: bool,
    /// One entry per layer.
    pub layers: Vec<Temporal>,
}

impl Config {
    /// Reads the `config.json` of a model: in its directory, or in its GGUF file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Json`], [`Error::MissingKey`], [`Error::BadKey`], [`Error::Architecture`], [`Error::Gguf`].
    pub fn load(model: &Path) -> Result<Self, Error> {
        let Attached { path, text } = required(model, "config.json")?;
        Self::from_json(&text, &path)
    }

    /// Reads the text of a `config.json`; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Config::load`], but for [`Error::Read`].
    pub fn from_json(text: &str, path: &Path) -> Result<Self, Error> {
        let value = serde_json::from_str(text).map_err(|source| Error::Json { path: path.into(), source })?;
        let keys = Keys { value: &value, path };
        keys.check_architecture()?;

        let width = keys.required("hidden_size", 1..=65_536)?;
        let heads = keys.required("num_attention_heads", 1..=1024)?;
        let intermediate = keys.required("intermediate_size", 2..=1 << 20)?;
        if intermediate % 2 != 0 {
            return Err(keys.bad("intermediate_size", "an even number: twice the width of the MLP"));
        }
        let lru_width = keys.size("lru_width", 1..=65_536)?.unwrap_or(width);
        if !lru_width.is_multiple_of(heads) {
            let key = if keys.get("lru_width").is_some() { "lru_width" } else { "hidden_size" };
            return Err(keys.bad(key, &format!("a multiple of the {heads} heads")));
        }
        let head_dim = match keys.size("head_dim", 2..=4096)? {
            Some(dim) => dim,
            None if width.is_multiple_of(heads) => width / heads,
            None => return Err(keys.bad("hidden_size", &format!("a multiple of the {heads} heads, or a head_dim"))),
        };
        let kv_heads = keys.size("num_key_value_heads", 1..=1024)?.unwrap_or(1);
        if !heads.is_multiple_of(kv_heads) {
            return Err(keys.bad("num_key_value_heads", &format!("a divisor of the {heads} heads")));
        }
        if heads * head_dim > 65_536 {
            return Err(keys.bad("num_attention_heads", "no more heads than 65536 numbers hold"));
        }
        let layers = keys.layers()?;
        let window = keys.required("attention_window_size", 1..=1 << 20)?;
        // No weight's shape depends on the window, so the weights cannot belie it.
        if window * kv_heads * head_dim > STATE_MAX / 2 / layers.len() {
            return Err(keys.bad("attention_window_size", "one whose keys and values fit into memory"));
        }
        Ok(Self {
            vocab: keys.required("vocab_size", 1..=1 << 24)?,
            width,
            lru_width,
            mlp_width: intermediate / 2,
            heads,
            kv_heads,
            head_dim,
            rotary_dim: keys.rotary_dim(head_dim)?,
            rope_base: keys.rope("rope_theta", 1.0..=1e12)?.unwrap_or(10_000.0),
            window,
            conv_width: keys.size("conv1d_width", 2..=64)?.unwrap_or(4),
            norm_eps: keys.number("rms_norm_eps", 0.0..=0.1)?.unwrap_or(1e-6),
            soft_cap: keys.number("logits_soft_cap", 1e-3..=1e6)?.unwrap_or(30.0) as f32,
            attention_bias: keys.flag("attention_bias")?.unwrap_or(false),
            layers,
        })
    }

    /// The shape of a published model: "2b" or "9b".
    pub fn preset(name: &str) -> Option<Self> {
        let (width, heads, mlp_width, layers) = match name {
            "2b" => (2560, 10, 7680, 26),
            "9b" => (4096, 16, 12288, 38),
            _ => return None,
        };
        let pattern = [Temporal::Recurrent, Temporal::Recurrent, Temporal::Attention];
        Some(Self {
            vocab: 256_000,
            width,
            lru_width: width,
            mlp_width,
            heads,
            kv_heads: 1,
            head_dim: 256,
            rotary_dim: 128,
            rope_base: 10_000.0,
            window: 2048,
            conv_width: 4,
            norm_eps: 1e-6,
            soft_cap: 30.0,
            attention_bias: false,
            layers: pattern.into_iter().cycle().take(layers).collect(),
        })
    }

    /// The text of a `config.json` that says the same.
    pub fn to_json(&self) -> String {
        let kinds: Vec<_> = self.layers.iter().map(|temporal| temporal.name()).collect();
        serde_json::json!({
            "architectures": ["RecurrentGemmaForCausalLM"],
            "model_type": "recurrent_gemma",
            "vocab_size": self.vocab,
            "hidden_size": self.width,
            "lru_width": self.lru_width,
            "intermediate_size": 2 * self.mlp_width,
            "num_hidden_layers": self.layers.len(),
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "partial_rotary_factor": self.rotary_dim as f64 / self.head_dim as f64,
            "rope_theta": self.rope_base,
            "attention_window_size": self.window,
            "conv1d_width": self.conv_width,
            "rms_norm_eps": self.norm_eps,
            "logits_soft_cap": self.soft_cap,
            "attention_bias": self.attention_bias,
            "block_types": kinds,
        })
        .to_string()
    }

    /// The keys of a GGUF file that say the same, named as llama.cpp names them where it has a name.
    pub(super) fn keys(&self) -> Vec<(String, Meta)> {
        let sizes = [
            ("vocab_size", self.vocab),
            ("embedding_length", self.width),
            ("recurrence_length", self.lru_width),
            ("feed_forward_length", self.mlp_width),
            ("block_count", self.layers.len()),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.sliding_window", self.window),
            ("rope.dimension_count", self.rotary_dim),
            ("convolution_width", self.conv_width),
        ];
        let sizes = sizes.map(|(key, size)| (key, Meta::U32(size as u32)));
        let others = [
            ("rope.freq_base", Meta::F64(self.rope_base)),
            ("attention.layer_norm_rms_epsilon", Meta::F64(self.norm_eps)),
            ("final_logit_softcapping", Meta::F32(self.soft_cap)),
            ("attention.bias", Meta::Bool(self.attention_bias)),
            ("block_types", Meta::Texts(self.layers.iter().map(|temporal| temporal.name().into()).collect())),
        ];
        let named = sizes.into_iter().chain(others);
        named.map(|(key, value)| (format!("{}.{key}", gguf::ARCHITECTURE), value)).collect()
    }

    /// Parameters of the whole model.
    pub fn parameters(&self) -> u64 {
        let [v, d, r, e] = [self.vocab, self.width, self.lru_width, self.mlp_width].map(|x| x as u64);
        let [n, g, h, c] = [self.heads, self.kv_heads, self.head_dim, self.conv_width].map(|x| x as u64);
        let mlp = 2 * (d * e + e) + e * d + d;
        let recurrent = 2 * (d * r + r) + (c * r + r) + 2 * (r * r / n + r) + r + (r * d + d);
        let bias = if self.attention_bias { n * h + 2 * g * h } else { 0 };
        let attention = d * n * h + 2 * d * g * h + bias + (n * h * d + d);
        let layers: u64 = self
            .layers
            .iter()
            .map(|temporal| match temporal {
                Temporal::Recurrent => 2 * d + mlp + recurrent,
                Temporal::Attention => 2 * d + mlp + attention,
            })
            .sum();
        v * d + layers + d
    }

    /// The settings that change the arithmetic without changing any weight's shape or name.
    pub(super) fn identity(&self) -> String {
        format!(
            "griffin 1: heads {} of {} rotary {} base {} window {} eps {} cap {}\n",
            self.heads, self.head_dim, self.rotary_dim, self.rope_base, self.window, self.norm_eps, self.soft_cap
        )
    }

    /// √d as the checkpoints were trained with it: rounded to bf16 (50.5 for a width of 2560, not 50.596).
    pub fn embedding_scale(&self) -> f32 {
        half::bf16::from_f64((self.width as f64).sqrt()).to_f32()
    }
}
