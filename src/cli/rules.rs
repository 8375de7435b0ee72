//! `hearth rules`: what the configured rules are, what they have learned, and how rules would have done on what was said.

mod dry_run;
mod list;
mod reset;
mod show;

/// Arguments of `hearth rules`.
#[derive(Debug, clap::Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    command: RulesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RulesCommand {
    /// Tell when rules would have fired on what was said
    DryRun(dry_run::DryRunArgs),
    /// List the rules of the config, and how often each was a false alarm
    List(list::ListRulesArgs),
    /// Show at which probability each rule's alert begins, and what false alarms and acknowledged alerts did to it
    Show(show::ShowRulesArgs),
    /// Give a rule its configured threshold back: what was said of its alerts until now no longer counts
    Reset(reset::ResetRulesArgs),
}

/// # Errors
/// Those of the subcommand.
pub(crate) fn run(args: RulesArgs) -> anyhow::Result<()> {
    match args.command {
        RulesCommand::DryRun(args) => dry_run::run(args),
        RulesCommand::List(args) => list::run(args),
        RulesCommand::Show(args) => show::run(args),
        RulesCommand::Reset(args) => reset::run(args),
    }
}
