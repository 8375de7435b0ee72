//! Continues a text: `cargo run --release --example generate -- MODEL PROMPT`. MODEL is a checkpoint in Hugging Face layout or a
//! GGUF file; without a tokenizer, PROMPT is a list of token numbers.

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;

use griffin::{Model, Options, Sampler, Sampling, Tokenizer, sidecar};

const TOKENS: usize = 60;

fn main() -> Result<(), Box<dyn Error>> {
    let [path, prompt] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("usage: generate MODEL PROMPT".into());
    };
    let path = Path::new(path);
    let model = Model::load(path, &Options::default())?;
    let mut state = model.state();
    let mut sampler = Sampler::new(Sampling { temperature: 0.8, top_k: 40, top_p: 0.95, seed: 1 });
    if sidecar(path, "tokenizer.json")?.is_none() {
        let tokens: Vec<u32> = prompt.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let mut logits = model.read(&tokens, &mut state)?;
        for _ in 0..TOKENS {
            let token = sampler.choose(&logits);
            print!("{token} ");
            model.step_into(token, &mut state, &mut logits)?;
        }
        println!();
        return Ok(());
    }
    let tokenizer = Tokenizer::load(path)?;
    let mut tokens = vec![tokenizer.special_tokens().bos];
    tokens.extend(tokenizer.encode(prompt)?);
    let mut logits = model.read(&tokens, &mut state)?;
    let mut decoder = tokenizer.decoder();
    print!("{prompt}");
    for _ in 0..TOKENS {
        let token = sampler.choose(&logits);
        if tokenizer.special_tokens().contains(token) {
            break;
        }
        print!("{}", decoder.push(token)?.unwrap_or_default());
        stdout().flush()?;
        model.step_into(token, &mut state, &mut logits)?;
    }
    println!();
    Ok(())
}
