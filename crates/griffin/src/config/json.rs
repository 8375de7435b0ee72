//! Reads `config.json`: the names under which its settings are written, and what is said of a value that cannot be.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::BlockType;
use crate::Error;

/// A config.json being read.
pub(super) struct ConfigJson<'a> {
    pub(super) value: &'a Value,
    pub(super) path: &'a Path,
}

impl ConfigJson<'_> {
    pub(super) fn path(&self) -> PathBuf {
        self.path.into()
    }

    /// The value of a key; null is the same as absent, as it is for Hugging Face.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn bad(&self, key: &'static str, expected: &str) -> Error {
        let found = self.get(key).map_or_else(|| "absent".into(), Value::to_string);
        self.bad_value(key, found, expected)
    }

    pub(super) fn bad_value(&self, key: &'static str, found: String, expected: &str) -> Error {
        Error::BadKey { path: self.path(), key, found, expected: expected.into() }
    }

    pub(super) fn required(&self, key: &'static str, range: std::ops::RangeInclusive<usize>) -> Result<usize, Error> {
        self.size(key, range)?.ok_or(Error::MissingKey { path: self.path(), key })
    }

    pub(super) fn size(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| range.contains(n));
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        size.map(Some).ok_or_else(|| self.bad(key, &expected()))
    }

    pub(super) fn number(&self, key: &'static str, range: std::ops::RangeInclusive<f64>) -> Result<Option<f64>, Error> {
        self.get(key).map(|value| self.number_in(key, value, range)).transpose()
    }

    pub(super) fn number_in(
        &self,
        key: &'static str,
        value: &Value,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<f64, Error> {
        let expected = || format!("a number from {} to {}", range.start(), range.end());
        let number = value.as_f64().filter(|n| range.contains(n));
        number.ok_or_else(|| self.bad_value(key, value.to_string(), &expected()))
    }

    /// A rotary setting: in `rope_parameters` in newer files, at the top in older ones.
    pub(super) fn rope(&self, key: &'static str, range: std::ops::RangeInclusive<f64>) -> Result<Option<f64>, Error> {
        let nested = self.get("rope_parameters").and_then(|rope| rope.get(key)).filter(|value| !value.is_null());
        nested.or_else(|| self.get(key)).map(|value| self.number_in(key, value, range)).transpose()
    }

    pub(super) fn rotary_dim(&self, head_dim: usize) -> Result<usize, Error> {
        const KEY: &str = "partial_rotary_factor";
        let kind = self.get("rope_parameters").and_then(|rope| rope.get("rope_type")).and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| *kind != "default") {
            return Err(self.bad_value("rope_type", kind.into(), "\"default\""));
        }
        let factor = self.rope(KEY, 0.0..=1.0)?.unwrap_or(0.5);
        let dim = head_dim as f64 * factor;
        if dim < 2.0 || dim % 2.0 != 0.0 {
            let expected = format!("a share of the {head_dim} dimensions of a head that is even");
            return Err(self.bad_value(KEY, factor.to_string(), &expected));
        }
        Ok(dim as usize)
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<Option<bool>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.bad(key, "true or false"))
    }

    /// The block types, repeated over all layers.
    pub(super) fn layers(&self) -> Result<Vec<BlockType>, Error> {
        const KEY: &str = "block_types";
        const EXPECTED: &str = "a list of \"recurrent\" and \"attention\"";
        let count = self.required("num_hidden_layers", 1..=1024)?;
        let value = self.get(KEY).or_else(|| self.get("_block_types"));
        let value = value.ok_or(Error::MissingKey { path: self.path(), key: KEY })?;
        let bad = || self.bad_value(KEY, value.to_string(), EXPECTED);
        let pattern = value.as_array().filter(|names| !names.is_empty()).ok_or_else(bad)?;
        let pattern = pattern
            .iter()
            .map(|name| match name.as_str() {
                Some("recurrent") => Ok(BlockType::Recurrent),
                Some("attention") => Ok(BlockType::Attention),
                _ => Err(bad()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(pattern.iter().copied().cycle().take(count).collect())
    }

    /// Refuses another architecture, and settings that would change the arithmetic.
    pub(super) fn check_architecture(&self) -> Result<(), Error> {
        let unsupported = |found: String| Error::Architecture { path: self.path(), found };
        if !self.value.is_object() {
            return Err(unsupported("no object of settings".into()));
        }
        if let Some(kind) = self.get("model_type").filter(|kind| *kind != "recurrent_gemma") {
            return Err(unsupported(format!("model_type {kind}")));
        }
        if let Some(names) = self.get("architectures").and_then(Value::as_array)
            && !names.iter().any(|name| name == "RecurrentGemmaForCausalLM")
        {
            return Err(unsupported(format!("architectures {}", Value::from(names.clone()))));
        }
        for key in ["hidden_activation", "hidden_act"] {
            if let Some(name) = self.get(key).filter(|name| *name != "gelu_pytorch_tanh") {
                return Err(self.bad_value("hidden_activation", name.to_string(), "\"gelu_pytorch_tanh\""));
            }
        }
        if self.flag("tie_word_embeddings")? == Some(false) {
            return Err(self.bad("tie_word_embeddings", "true: RecurrentGemma's head is its embedding"));
        }
        Ok(())
    }
}
