//! `hearth manpages`: writes manual pages and shell completions, for packages.

use std::path::PathBuf;

use anyhow::Context;
use clap_complete::Shell;

#[derive(Debug, clap::Args)]
pub(crate) struct ManpagesArgs {
    /// Where to write them; the folder is made
    dir: PathBuf,
}

/// Writes a page for each subcommand, and completions for bash, zsh and fish.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn run(args: ManpagesArgs, cli: clap::Command) -> anyhow::Result<()> {
    let dir = args.dir;
    // Most pages would be about the help subcommands.
    let quiet = |command: clap::Command| command.disable_help_subcommand(true);
    let mut cli = quiet(cli).mut_subcommands(quiet);
    let wrong = || format!("cannot write to {}", dir.display());
    std::fs::create_dir_all(&dir).with_context(wrong)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut cli, "hearth", &dir).with_context(wrong)?;
    }
    clap_mangen::generate_to(cli, &dir).with_context(wrong)
}
