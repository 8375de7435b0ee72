//! `config.json`: every way in which it is written, the published models' sizes, and values that are refused.

use std::path::Path;

use griffin::Quantization;
use griffin::{BlockType, Config, KvCacheType};
use safetensors::Dtype;
use serde_json::{Value, json};

use super::files::{Stored, write};
use super::load;

/// As Google publishes the 2B.
fn two_b() -> Value {
    json!({
        "architectures": ["RecurrentGemmaForCausalLM"], "model_type": "recurrent_gemma",
        "_block_types": ["recurrent", "recurrent", "attention"], "attention_bias": false, "attention_dropout": 0.0,
        "attention_window_size": 2048, "bos_token_id": 2, "conv1d_width": 4, "eos_token_id": 1,
        "final_w_init_variance_scale": 0.07692307692307693, "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2560, "intermediate_size": 15360,
        "logits_soft_cap": 30.0, "lru_width": 2560, "num_attention_heads": 10, "num_hidden_layers": 26,
        "num_key_value_heads": 1, "pad_token_id": 0, "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0, "torch_dtype": "float32", "use_cache": true, "vocab_size": 256000,
        "w_init_variance_scale": 0.01
    })
}

fn nine_b() -> Value {
    let mut config = two_b();
    for (key, value) in [
        ("hidden_size", json!(4096)),
        ("lru_width", json!(4096)),
        ("intermediate_size", json!(24576)),
        ("num_attention_heads", json!(16)),
        ("num_hidden_layers", json!(38)),
    ] {
        config[key] = value;
    }
    config
}

pub(crate) fn read(config: &Value) -> Result<Config, String> {
    Config::from_json(&config.to_string(), Path::new("config.json")).map_err(|error| error.to_string())
}

/// A config with one key changed; null removes it.
fn with(mut config: Value, key: &str, value: Value) -> Value {
    let keys = config.as_object_mut().unwrap();
    if value.is_null() {
        keys.remove(key)
    } else {
        keys.insert(key.into(), value)
    };
    config
}

#[test]
fn the_published_models_have_as_many_parameters_as_they_should() {
    let two = read(&two_b()).unwrap();
    assert_eq!(two.parameters(), 2_682_862_080);
    assert_eq!(
        (two.hidden_size, two.lru_width, two.mlp_expanded_width, two.head_dim, two.rotary_dim),
        (2560, 2560, 7680, 256, 128)
    );
    assert_eq!(two.block_types.iter().filter(|layer| **layer == BlockType::Attention).count(), 8);
    assert!(two.block_types.iter().enumerate().all(|(i, layer)| (*layer == BlockType::Attention) == (i % 3 == 2)));
    assert_eq!(two.embedding_scale(), 50.5);

    let nine = read(&nine_b()).unwrap();
    assert_eq!(nine.parameters(), 8_579_977_216);
    assert_eq!(nine.block_types.iter().filter(|layer| **layer == BlockType::Attention).count(), 12);
    assert_eq!(nine.embedding_scale(), 64.0);
}

#[test]
fn every_way_of_writing_the_2b_is_the_same_model() {
    let expected = read(&two_b()).unwrap();
    let pattern = two_b()["_block_types"].clone();
    let all_layers: Vec<&str> = (0..26).map(|i| if i % 3 == 2 { "attention" } else { "recurrent" }).collect();
    let unnested = with(with(two_b(), "rope_theta", Value::Null), "partial_rotary_factor", Value::Null);
    let ways = [
        with(with(two_b(), "_block_types", Value::Null), "block_types", pattern),
        with(with(two_b(), "_block_types", Value::Null), "block_types", json!(all_layers)),
        with(
            unnested,
            "rope_parameters",
            json!({"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
        ),
        with(two_b(), "head_dim", Value::Null),
        with(two_b(), "lru_width", Value::Null),
        {
            let mut config = two_b();
            config["lru_width"] = Value::Null;
            config
        },
        with(two_b(), "num_key_value_heads", Value::Null),
        with(two_b(), "tie_word_embeddings", json!(true)),
        with(two_b(), "rope_theta", json!(10000)),
    ];
    for way in ways {
        assert_eq!(read(&way).as_ref(), Ok(&expected), "{way}");
    }
}

#[test]
fn what_is_missing_or_absurd_is_named() {
    for key in [
        "hidden_size",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
        "num_hidden_layers",
        "attention_window_size",
    ] {
        let message = read(&with(two_b(), key, Value::Null)).unwrap_err();
        assert_eq!(message, format!("config.json: {key} is missing; a RecurrentGemma config.json has it"));
    }
    let message = read(&with(two_b(), "_block_types", Value::Null)).unwrap_err();
    assert!(message.contains("block_types is missing"), "{message}");

    for (key, value, expected) in [
        ("num_attention_heads", json!(0), "num_attention_heads is 0, expected a whole number from 1"),
        ("num_attention_heads", json!(7), "hidden_size is 2560, expected a multiple of the 7 heads"),
        ("lru_width", json!(2561), "lru_width is 2561, expected a multiple of the 10 heads"),
        ("hidden_size", json!(u64::MAX), "hidden_size is 18446744073709551615"),
        ("hidden_size", json!(-1), "hidden_size is -1"),
        ("hidden_size", json!("2560"), "hidden_size is \"2560\""),
        ("intermediate_size", json!(15361), "an even number"),
        ("vocab_size", json!(1u64 << 40), "vocab_size"),
        ("num_hidden_layers", json!(100_000), "num_hidden_layers"),
        ("attention_window_size", json!(1u64 << 32), "attention_window_size"),
        ("num_key_value_heads", json!(3), "a divisor of the 10 heads"),
        ("head_dim", json!(1), "head_dim"),
        ("partial_rotary_factor", json!(0.1234), "partial_rotary_factor"),
        ("partial_rotary_factor", json!(1.5), "partial_rotary_factor"),
        ("rope_theta", json!(-3), "rope_theta is -3"),
        ("rope_parameters", json!({"rope_type": "yarn"}), "rope_type is yarn, expected \"default\""),
        ("rms_norm_eps", json!("small"), "rms_norm_eps"),
        ("logits_soft_cap", json!(0), "logits_soft_cap"),
        ("conv1d_width", json!(0), "conv1d_width"),
        ("_block_types", json!([]), "a list of \"recurrent\" and \"attention\""),
        ("_block_types", json!(["recurrent", "mamba"]), "mamba"),
        ("hidden_activation", json!("relu"), "hidden_activation is \"relu\""),
        ("tie_word_embeddings", json!(false), "tie_word_embeddings is false"),
        ("attention_bias", json!("no"), "attention_bias"),
        ("model_type", json!("gemma2"), "describes model_type \"gemma2\", and only RecurrentGemma is read"),
        ("architectures", json!(["MambaForCausalLM"]), "MambaForCausalLM"),
    ] {
        let mut config = with(two_b(), key, value);
        if expected.starts_with("hidden_size is 2560") {
            // 2560 without widths of its own must divide by the heads.
            config = with(config, "lru_width", Value::Null);
        }
        let message = read(&config).unwrap_err();
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
        assert!(message.contains("config.json"), "{message}");
    }
    for text in ["", "{", "[]", "3"] {
        assert!(Config::from_json(text, Path::new("config.json")).is_err(), "{text:?}");
    }
}

/// All tensors that a config asks for, by the names of the published checkpoints, with small random values.
pub(crate) fn synthetic(config: &Config) -> Vec<Stored> {
    let [d, r, e, v] = [config.hidden_size, config.lru_width, config.mlp_expanded_width, config.vocab_size];
    let [n, q, kv] = [
        config.num_attention_heads,
        config.num_attention_heads * config.head_dim,
        config.num_key_value_heads * config.head_dim,
    ];
    let mut shapes =
        vec![("model.embed_tokens.weight".to_string(), vec![v, d]), ("model.final_norm.weight".into(), vec![d])];
    for (i, layer) in config.block_types.iter().enumerate() {
        let mut add = |name: &str, shape: &[usize]| shapes.push((format!("model.layers.{i}.{name}"), shape.to_vec()));
        add("temporal_pre_norm.weight", &[d]);
        add("channel_pre_norm.weight", &[d]);
        for (name, o, i) in [("gate", e, d), ("up", e, d), ("down", d, e)] {
            add(&format!("mlp_block.{name}_proj.weight"), &[o, i]);
            add(&format!("mlp_block.{name}_proj.bias"), &[o]);
        }
        match layer {
            BlockType::Recurrent => {
                for (name, o, i) in [("x", r, d), ("y", r, d), ("out", d, r)] {
                    add(&format!("temporal_block.linear_{name}.weight"), &[o, i]);
                    add(&format!("temporal_block.linear_{name}.bias"), &[o]);
                }
                add("temporal_block.conv_1d.weight", &[r, 1, config.conv1d_width]);
                add("temporal_block.conv_1d.bias", &[r]);
                add("temporal_block.rg_lru.recurrent_param", &[r]);
                for gate in ["input", "recurrent"] {
                    add(&format!("temporal_block.rg_lru.{gate}_gate_weight"), &[n, r / n, r / n]);
                    add(&format!("temporal_block.rg_lru.{gate}_gate_bias"), &[n, r / n]);
                }
            }
            BlockType::Attention => {
                for (name, o, i) in [("q", q, d), ("k", kv, d), ("v", kv, d), ("o", d, q)] {
                    add(&format!("temporal_block.{name}_proj.weight"), &[o, i]);
                    if name == "o" || config.attention_bias {
                        add(&format!("temporal_block.{name}_proj.bias"), &[o]);
                    }
                }
            }
        }
    }
    let mut random = 1u32;
    let mut next = move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        half::bf16::from_f32((random >> 8) as f32 / (1 << 24) as f32 * 0.2 - 0.1)
    };
    let fill = |(name, shape): (String, Vec<usize>)| {
        let count = shape.iter().product();
        let bytes = std::iter::repeat_with(&mut next).take(count).flat_map(half::bf16::to_le_bytes).collect();
        Stored { name, dtype: Dtype::BF16, shape, bytes }
    };
    shapes.into_iter().map(fill).collect()
}

/// A model of a shape that none of the fixtures has: it ends with attention, has several heads of keys, and no two widths alike.
pub(crate) fn odd() -> Value {
    json!({
        "model_type": "recurrent_gemma", "vocab_size": 50, "hidden_size": 40, "lru_width": 72, "num_hidden_layers": 5,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 136,
        "attention_window_size": 5, "conv1d_width": 3, "partial_rotary_factor": 0.25, "rope_theta": 500.0,
        "logits_soft_cap": 5.0, "attention_bias": true, "block_types": ["attention", "recurrent"]
    })
}

/// A directory with a random model of this shape.
pub(crate) fn synthetic_dir(config: &Value, change: impl FnOnce(&mut Vec<Stored>)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let mut tensors = synthetic(&read(config).unwrap());
    change(&mut tensors);
    write(&dir.path().join("model.safetensors"), &tensors);
    dir
}

#[test]
fn a_checkpoint_with_the_2bs_names_and_pattern_loads_in_every_format() {
    let mut small = two_b();
    for (key, value) in [
        ("hidden_size", 320),
        ("lru_width", 640),
        ("intermediate_size", 1024),
        ("head_dim", 32),
        ("vocab_size", 300),
        ("attention_window_size", 16),
    ] {
        small[key] = json!(value);
    }
    let config = read(&small).unwrap();
    let mut stored = 0;
    let dir = synthetic_dir(&small, |tensors| stored = tensors.iter().map(|tensor| tensor.bytes.len() / 2).sum());
    assert_eq!(config.parameters(), stored as u64);
    let odd_stored: usize = synthetic(&read(&odd()).unwrap()).iter().map(|tensor| tensor.bytes.len() / 2).sum();
    assert_eq!(read(&odd()).unwrap().parameters(), odd_stored as u64);
    for weights in [Quantization::F32, Quantization::Q8_0, Quantization::Q4K] {
        let model = load(dir.path(), weights, KvCacheType::I16);
        let mut state = model.state();
        let tokens: Vec<u32> = (0..200).collect();
        model.ingest(&tokens, &mut state).unwrap();
        let logits = model.step(299, &mut state).unwrap();
        assert!(logits.values().iter().all(|l| l.is_finite() && l.abs() <= 30.0), "{weights:?}");
    }
}

#[test]
fn the_real_states_have_the_sizes_they_should() {
    // Bytes of h and conv, and of K and V in two bytes a value, as the papers' shapes make them.
    for (config, recurrent, rings) in
        [(two_b(), 184_320 + 552_960, 16_777_216), (nine_b(), 425_984 + 1_277_952, 25_165_824)]
    {
        let config = read(&config).unwrap();
        let count = |kind| config.block_types.iter().filter(|layer| **layer == kind).count();
        assert_eq!(count(BlockType::Recurrent) * config.lru_width * config.conv1d_width * 4, recurrent);
        assert_eq!(
            count(BlockType::Attention)
                * 2
                * config.attention_window_size
                * config.num_key_value_heads
                * config.head_dim
                * 2,
            rings
        );
    }
}
