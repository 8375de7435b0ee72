//! Transcribes recordings: `cargo run --release --example transcribe -- examples/household.flac`.

use std::process::ExitCode;

use clap::Parser;
use hearth::command::transcribe;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: transcribe::Args,
}

fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt().with_env_filter("warn,whisper_rs=error").with_writer(std::io::stderr).init();
    transcribe::run(Cli::parse().args)
}
