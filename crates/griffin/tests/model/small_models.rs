//! The smallest models there can be, for changed copies of their files. The fuzz targets' seeds are made of them, too.

use std::path::Path;

use griffin::gguf::Gguf;
use griffin::{BlockType, Config};

/// One layer of each kind. `width` decides which formats fit.
pub(crate) fn small_config(width: usize) -> Config {
    Config {
        vocab_size: 4,
        hidden_size: width,
        lru_width: 4,
        mlp_expanded_width: 4,
        num_attention_heads: 2,
        head_dim: 4,
        rotary_dim: 2,
        attention_window_size: 3,
        block_types: vec![BlockType::Recurrent, BlockType::Attention],
        ..Config::preset("2b").expect("there is a shape of this name")
    }
}

/// A safetensors file of zeros, with the tensors which a GGUF file has. Its first eight bytes are the length of its header.
pub(crate) fn small_checkpoint(gguf: &Path) -> Vec<u8> {
    let gguf = Gguf::open(gguf).expect("it was just written");
    let mut tensors = Vec::new();
    let mut end = 0;
    for (name, tensor) in gguf.tensors() {
        let start = end;
        end += 4 * tensor.shape.iter().product::<usize>();
        tensors
            .push(format!(r#""{name}":{{"dtype":"F32","shape":{:?},"data_offsets":[{start},{end}]}}"#, tensor.shape));
    }
    let header = format!("{{{}}}", tensors.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + end, 0);
    bytes
}
