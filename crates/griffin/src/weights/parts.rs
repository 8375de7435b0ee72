//! Every tensor of a model, by its name in Hugging Face's checkpoints.
//!
//! Owns the list for those who take a whole checkpoint: quantising, verifying, making one up. Invariant: it is what the model
//! itself loads, no more and no less, or the fingerprint of a quantised model would not be its checkpoint's.

use super::super::config::{Config, Temporal};
use super::Group;

/// One tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub role: Role,
}

/// What a tensor is to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Small, always f32.
    Vector(Vec<usize>),
    /// [rows, columns]
    Matrix { group: Group, rows: usize, columns: usize },
    /// One [block, block] for each head, input-major in checkpoints.
    Gates { heads: usize, block: usize },
}

impl Role {
    /// The shape in a checkpoint.
    pub fn shape(&self) -> Vec<usize> {
        match *self {
            Self::Vector(ref shape) => shape.clone(),
            Self::Matrix { rows, columns, .. } => vec![rows, columns],
            Self::Gates { heads, block } => vec![heads, block, block],
        }
    }

    pub fn parameters(&self) -> usize {
        self.shape().iter().product()
    }
}

/// All of them, in the order in which a token meets them.
pub fn parts(config: &Config) -> Vec<Part> {
    let (d, e) = (config.width, config.mlp_width);
    let mut list = List(Vec::new());
    list.matrix("model.embed_tokens.weight".into(), Group::Embedding, config.vocab, d);
    for (layer, temporal) in config.layers.iter().enumerate() {
        let name = format!("model.layers.{layer}");
        list.vector(format!("{name}.temporal_pre_norm.weight"), vec![d]);
        let block = format!("{name}.temporal_block");
        match temporal {
            Temporal::Recurrent => list.recurrent(&block, config),
            Temporal::Attention => list.attention(&block, config),
        }
        list.vector(format!("{name}.channel_pre_norm.weight"), vec![d]);
        for (kind, rows, columns) in [("gate", e, d), ("up", e, d), ("down", d, e)] {
            list.linear(&format!("{name}.mlp_block.{kind}_proj"), Group::Mlp, rows, columns, true);
        }
    }
    list.vector("model.final_norm.weight".into(), vec![d]);
    list.0
}

struct List(Vec<Part>);

impl List {
    fn vector(&mut self, name: String, shape: Vec<usize>) {
        self.0.push(Part { name, role: Role::Vector(shape) });
    }

    fn matrix(&mut self, name: String, group: Group, rows: usize, columns: usize) {
        self.0.push(Part { name, role: Role::Matrix { group, rows, columns } });
    }

    fn linear(&mut self, name: &str, group: Group, rows: usize, columns: usize, bias: bool) {
        self.matrix(format!("{name}.weight"), group, rows, columns);
        if bias {
            self.vector(format!("{name}.bias"), vec![rows]);
        }
    }

    fn recurrent(&mut self, name: &str, config: &Config) {
        let (d, r, heads) = (config.width, config.lru_width, config.heads);
        let block = r / heads;
        self.linear(&format!("{name}.linear_y"), Group::Recurrent, r, d, true);
        self.linear(&format!("{name}.linear_x"), Group::Recurrent, r, d, true);
        self.vector(format!("{name}.conv_1d.weight"), vec![r, 1, config.conv_width]);
        self.vector(format!("{name}.conv_1d.bias"), vec![r]);
        for gate in ["input", "recurrent"] {
            let name = format!("{name}.rg_lru.{gate}_gate");
            self.0.push(Part { name: format!("{name}_weight"), role: Role::Gates { heads, block } });
            self.vector(format!("{name}_bias"), vec![heads, block]);
        }
        self.vector(format!("{name}.rg_lru.recurrent_param"), vec![r]);
        self.linear(&format!("{name}.linear_out"), Group::Recurrent, d, r, true);
    }

    fn attention(&mut self, name: &str, config: &Config) {
        let (d, bias) = (config.width, config.attention_bias);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let of = [("q", queries, Group::Attention), ("k", keys, Group::KeysValues), ("v", keys, Group::KeysValues)];
        for (kind, rows, group) in of {
            self.linear(&format!("{name}.{kind}_proj"), group, rows, d, bias);
        }
        self.linear(&format!("{name}.o_proj"), Group::Attention, d, queries, true);
    }
}
