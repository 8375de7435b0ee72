//! `hearth bench` in a build without the feature `bench`: it says so.

use anyhow::bail;

/// Arguments of `hearth bench`; any are accepted, so that the answer is why it cannot run.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<String>,
}

/// # Errors
/// Always: there are no benchmarks in this build.
pub(crate) fn run(_args: BenchArgs) -> anyhow::Result<()> {
    bail!("this hearth was built without benchmarks; build it with `cargo build --release --features bench`")
}
