//! `hearth man` and `hearth completions` print a manual page and the completions of a shell; `hearth manpages` writes all of them, for
//! packages.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap_complete::Shell;

use super::output::stdout;

/// Arguments of `hearth man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The subcommand, as in "hearth man models fetch"; by default hearth itself
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

/// Arguments of `hearth completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

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

/// Shows a manual page on a terminal; elsewhere prints it as roff, as man reads it.
///
/// # Errors
/// There is no such subcommand, or standard output cannot be written.
pub(crate) fn man(args: &ManArgs, mut cli: clap::Command) -> anyhow::Result<()> {
    // Gives each subcommand its full name.
    cli.build();
    let mut command = &cli;
    for name in &args.command {
        command = match command.find_subcommand(name) {
            Some(command) => command,
            None => {
                let known: Vec<_> = command
                    .get_subcommands()
                    .filter(|command| !command.is_hide_set())
                    .map(clap::Command::get_name)
                    .collect();
                let name_of_all = command.get_bin_name().unwrap_or("hearth");
                match known.is_empty() {
                    true => bail!("`{name_of_all}` has no subcommands"),
                    false => bail!("there is no `{name_of_all} {name}`; there are: {}", known.join(", ")),
                }
            }
        };
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    if std::io::stdout().is_terminal()
        && let Ok(mut man) = Command::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn()
    {
        // A reader that is closed early takes no more.
        let _ = man.stdin.take().map(|mut stdin| stdin.write_all(&page));
        if man.wait()?.success() {
            return Ok(());
        }
    }
    Ok(stdout().write_all(&page)?)
}

/// Prints the completions of a shell.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn completions(args: &CompletionsArgs, mut cli: clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli, "hearth", &mut script);
    Ok(stdout().write_all(&script)?)
}
