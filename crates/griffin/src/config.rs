//! The shape of a model, read from Hugging Face's `config.json`.
//!
//! A [`Config`] that was read can be built: widths divide, sizes are bounded, and there is a block type for every layer.

mod json;

use std::path::Path;

use crate::Error;
use crate::formats::gguf::{self, MetadataValue};
use crate::formats::{Sidecar, required_sidecar, tensor_specs};
use json::ConfigJson;

/// Keys and values that a state may have: twenty times those of the largest published model.
const STATE_MAX: usize = 1 << 28;

/// How a layer mixes tokens over time (section 2.3 of the paper).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockType {
    /// RG-LRU behind a convolution.
    Recurrent,
    /// Local multi-query attention.
    Attention,
}

impl BlockType {
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
    pub vocab_size: usize,
    /// d: width of the residual stream.
    pub hidden_size: usize,
    /// r: width of the recurrence; the paper's D_RNN.
    pub lru_width: usize,
    /// e: width of the gated MLP. Half of Hugging Face's `intermediate_size`; the name is that of Google's code.
    pub mlp_expanded_width: usize,
    /// n: query heads, and blocks of the gates.
    pub num_attention_heads: usize,
    /// g: heads that keys and values have; 1 in every published checkpoint.
    pub num_key_value_heads: usize,
    /// h: width of a head.
    pub head_dim: usize,
    /// How many dimensions of a head are rotated; even.
    pub rotary_dim: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// w: keys before its own that a query sees.
    pub attention_window_size: usize,
    /// c: taps of the convolution, the current token's included.
    pub conv1d_width: usize,
    /// ε of every norm.
    pub rms_norm_eps: f64,
    /// Logits are bent into ± this.
    pub logits_soft_cap: f32,
    /// Whether the projections of queries, keys and values have a bias.
    pub attention_bias: bool,
    /// One entry for each layer.
    pub block_types: Vec<BlockType>,
}

impl Config {
    /// Reads the `config.json` of a model: in its directory, or in its GGUF file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Json`], [`Error::MissingKey`], [`Error::BadKey`], [`Error::Architecture`], [`Error::Gguf`].
    pub fn load(model: &Path) -> Result<Self, Error> {
        let Sidecar { path, text } = required_sidecar(model, "config.json")?;
        Self::from_json(&text, &path)
    }

    /// Reads the text of a `config.json`; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Config::load`], but for [`Error::Read`].
    pub fn from_json(text: &str, path: &Path) -> Result<Self, Error> {
        let value = serde_json::from_str(text).map_err(|source| Error::Json { path: path.into(), source })?;
        let keys = ConfigJson { value: &value, path };
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
        // No weight's shape depends on the window, so no weight would contradict it.
        if window * kv_heads * head_dim > STATE_MAX / 2 / layers.len() {
            return Err(keys.bad("attention_window_size", "one whose keys and values fit into memory"));
        }
        Ok(Self {
            vocab_size: keys.required("vocab_size", 1..=1 << 24)?,
            hidden_size: width,
            lru_width,
            mlp_expanded_width: intermediate / 2,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            rotary_dim: keys.rotary_dim(head_dim)?,
            rope_theta: keys.rope("rope_theta", 1.0..=1e12)?.unwrap_or(10_000.0),
            attention_window_size: window,
            conv1d_width: keys.size("conv1d_width", 2..=64)?.unwrap_or(4),
            rms_norm_eps: keys.number("rms_norm_eps", 0.0..=0.1)?.unwrap_or(1e-6),
            logits_soft_cap: keys.number("logits_soft_cap", 1e-3..=1e6)?.unwrap_or(30.0) as f32,
            attention_bias: keys.flag("attention_bias")?.unwrap_or(false),
            block_types: layers,
        })
    }

    /// The shape of a published model: "2b" or "9b".
    pub fn preset(name: &str) -> Option<Self> {
        let (width, heads, mlp_width, layers) = match name {
            "2b" => (2560, 10, 7680, 26),
            "9b" => (4096, 16, 12288, 38),
            _ => return None,
        };
        let pattern = [BlockType::Recurrent, BlockType::Recurrent, BlockType::Attention];
        Some(Self {
            vocab_size: 256_000,
            hidden_size: width,
            lru_width: width,
            mlp_expanded_width: mlp_width,
            num_attention_heads: heads,
            num_key_value_heads: 1,
            head_dim: 256,
            rotary_dim: 128,
            rope_theta: 10_000.0,
            attention_window_size: 2048,
            conv1d_width: 4,
            rms_norm_eps: 1e-6,
            logits_soft_cap: 30.0,
            attention_bias: false,
            block_types: pattern.into_iter().cycle().take(layers).collect(),
        })
    }

    /// The text of a `config.json` that says the same.
    pub fn to_json(&self) -> String {
        let kinds: Vec<_> = self.block_types.iter().map(|temporal| temporal.name()).collect();
        serde_json::json!({
            "architectures": ["RecurrentGemmaForCausalLM"],
            "model_type": "recurrent_gemma",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "lru_width": self.lru_width,
            "intermediate_size": 2 * self.mlp_expanded_width,
            "num_hidden_layers": self.block_types.len(),
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "partial_rotary_factor": self.rotary_dim as f64 / self.head_dim as f64,
            "rope_theta": self.rope_theta,
            "attention_window_size": self.attention_window_size,
            "conv1d_width": self.conv1d_width,
            "rms_norm_eps": self.rms_norm_eps,
            "logits_soft_cap": self.logits_soft_cap,
            "attention_bias": self.attention_bias,
            "block_types": kinds,
        })
        .to_string()
    }

    /// The keys of a GGUF file that say the same, named as llama.cpp names them where it has a name.
    pub(crate) fn to_metadata(&self) -> Vec<(String, MetadataValue)> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("embedding_length", self.hidden_size),
            ("recurrence_length", self.lru_width),
            ("feed_forward_length", self.mlp_expanded_width),
            ("block_count", self.block_types.len()),
            ("attention.head_count", self.num_attention_heads),
            ("attention.head_count_kv", self.num_key_value_heads),
            ("attention.key_length", self.head_dim),
            ("attention.sliding_window", self.attention_window_size),
            ("rope.dimension_count", self.rotary_dim),
            ("convolution_width", self.conv1d_width),
        ];
        let sizes = sizes.map(|(key, size)| (key, MetadataValue::U32(size as u32)));
        let others = [
            ("rope.freq_base", MetadataValue::F64(self.rope_theta)),
            ("attention.layer_norm_rms_epsilon", MetadataValue::F64(self.rms_norm_eps)),
            ("final_logit_softcapping", MetadataValue::F32(self.logits_soft_cap)),
            ("attention.bias", MetadataValue::Bool(self.attention_bias)),
            (
                "block_types",
                MetadataValue::Texts(self.block_types.iter().map(|temporal| temporal.name().into()).collect()),
            ),
        ];
        let named = sizes.into_iter().chain(others);
        named.map(|(key, value)| (format!("{}.{key}", gguf::ARCHITECTURE), value)).collect()
    }

    /// Parameters of the whole model.
    pub fn parameters(&self) -> u64 {
        tensor_specs(self).iter().map(|spec| spec.kind.parameters() as u64).sum()
    }

    /// The settings that change the arithmetic without changing any weight's shape or name.
    pub(crate) fn identity(&self) -> String {
        format!(
            "griffin 1: heads {} of {} rotary {} base {} window {} eps {} cap {}\n",
            self.num_attention_heads,
            self.head_dim,
            self.rotary_dim,
            self.rope_theta,
            self.attention_window_size,
            self.rms_norm_eps,
            self.logits_soft_cap
        )
    }

    /// √d as the checkpoints were trained with it: rounded to bf16 (50.5 for a width of 2560, not 50.596).
    pub fn embedding_scale(&self) -> f32 {
        half::bf16::from_f64((self.hidden_size as f64).sqrt()).to_f32()
    }
}
