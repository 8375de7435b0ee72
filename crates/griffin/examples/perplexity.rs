//! How well a model predicts a text: `cargo run --release --example perplexity -- MODEL FILE.txt`. MODEL is a checkpoint in Hugging
//! Face layout or a GGUF file, either with a tokenizer.

use std::error::Error;
use std::path::Path;

use griffin::{Model, Options, Tokenizer, perplexity};

fn main() -> Result<(), Box<dyn Error>> {
    let [path, text] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("usage: perplexity MODEL FILE.txt".into());
    };
    let path = Path::new(path);
    let text = std::fs::read_to_string(text)?;
    let model = Model::load(path, &Options::default())?;
    let tokenizer = Tokenizer::load(path)?;
    let found = perplexity(&model, &tokenizer, &text, &mut |done, total| eprint!("\r{done} of {total} tokens"))?;
    eprintln!();
    println!("perplexity {:.4} over {} tokens", found.value, found.tokens);
    Ok(())
}
