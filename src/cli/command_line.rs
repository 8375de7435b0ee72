//! The command line: its grammar, and which function runs each subcommand.

use std::process::ExitCode;

use super::terminal::Verbosity;
use super::{
    ask, bench, check, demo, devices, export, forget, generate, history, judge, manpages, microphone, models, mqtt,
    output, rules, run, search, setup, speakers, state, status, transcribe, watch,
};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

#[derive(Parser)]
#[command(
    version,
    about = "Listens to a room, writes down what is said, publishes summaries and alerts. Nothing leaves this machine but what it publishes over MQTT and to webhooks."
)]
struct CommandLine {
    #[command(subcommand)]
    command: CliCommand,
    /// Tell what is done, on standard error; twice for more. `run -v` logs at debug, with spoken words
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Tell errors only; `run -q` logs warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum CliCommand {
    /// Run the daemon: transcribe, read along, publish
    Run(run::RunArgs),
    /// Show what the running daemon hears, reads and publishes
    Status(status::StatusArgs),
    /// Show what is heard and told, as it happens
    Watch(watch::WatchArgs),
    /// Close the microphone until it is opened again
    Mute(microphone::MuteArgs),
    /// Open the microphone
    Unmute(microphone::MuteArgs),
    /// Close the microphone for a while
    Pause(microphone::PauseArgs),
    /// Show how sound the model's state is, or renew it
    State(state::StateArgs),
    /// Show it at work on a bundled recording of a household
    Demo(demo::DemoArgs),
    /// Turn audio files into text
    Transcribe(transcribe::TranscribeArgs),
    /// Answer questions about what was said
    Ask(ask::AskArgs),
    /// Search what was said for words
    Search(search::SearchArgs),
    /// Show what was said, with summaries, alerts and gaps
    History(history::HistoryArgs),
    /// Write what was said as text, document, subtitles or table
    Export(export::ExportArgs),
    /// Tell people by their voices: enroll, list, rename, forget
    Speakers(speakers::SpeakersArgs),
    /// Delete what was said in the last minutes, everywhere on this machine
    Forget(forget::ForgetArgs),
    /// Continue a prompt with a RecurrentGemma model
    Generate(generate::GenerateArgs),
    /// List rules, or try some on what was said before
    Rules(rules::RulesArgs),
    /// Score a model on written exchanges, questions and households
    Judge(judge::JudgeArgs),
    /// Fetch, quantize, list, show and verify models
    Models(models::ModelsArgs),
    /// List the commands over MQTT, or delete what this machine left at its broker
    Mqtt(mqtt::MqttArgs),
    /// Measure speed on this machine
    Bench(bench::BenchArgs),
    /// List microphones
    Devices(devices::DevicesArgs),
    /// Set up microphone, room, broker and storage, and begin to listen
    Setup(setup::SetupArgs),
    /// Report everything that is wrong with a config, and try what it names
    Check(check::CheckArgs),
    /// Print the completions of a shell
    Completions(manpages::CompletionsArgs),
    /// Show the manual page of a subcommand
    Man(manpages::ManArgs),
    /// Write manual pages and shell completions
    #[command(alias = "papers", hide = true)]
    Manpages(manpages::ManpagesArgs),
}

/// Parses the command line, runs a subcommand, returns an exit code.
pub(crate) fn main() -> ExitCode {
    let line = CommandLine::try_parse().unwrap_or_else(|error| hinted(error).exit());
    Verbosity::new(line.quiet, line.verbose).set();
    match execute(line.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::reader_is_gone(&error) => ExitCode::SUCCESS,
        Err(error) => super::report(&error),
    }
}

/// Says how a config is named, where one was given as a bare argument.
fn hinted(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg).cloned() else { return error };
    let with_option = error.get(ContextKind::Usage).is_some_and(|usage| usage.to_string().contains("OPTIONS"));
    if error.kind() == ErrorKind::UnknownArgument && with_option && argument.ends_with(".toml") {
        let hint = format!("a config is named with --config: `--config {argument}`").into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint]));
    }
    error
}

fn execute(command: CliCommand) -> anyhow::Result<()> {
    // These two set up a log of their own.
    if !matches!(command, CliCommand::Run(_) | CliCommand::Demo(_)) {
        super::warn_on_stderr();
    }
    match command {
        CliCommand::Run(args) => run::run(args),
        CliCommand::Status(args) => status::run(args),
        CliCommand::Watch(args) => watch::run(&args),
        CliCommand::Mute(args) => microphone::mute(&args, true),
        CliCommand::Unmute(args) => microphone::mute(&args, false),
        CliCommand::Pause(args) => microphone::pause(&args),
        CliCommand::State(args) => state::run(args),
        CliCommand::Demo(args) => demo::run(args),
        CliCommand::Transcribe(args) => transcribe::run(&args),
        CliCommand::Ask(args) => ask::run(args),
        CliCommand::Search(args) => search::run(args),
        CliCommand::History(args) => history::run(args),
        CliCommand::Export(args) => export::run(args),
        CliCommand::Speakers(args) => speakers::run(args),
        CliCommand::Forget(args) => forget::run(args),
        CliCommand::Rules(args) => rules::run(args),
        CliCommand::Generate(args) => generate::run(args),
        CliCommand::Judge(args) => judge::run(args),
        CliCommand::Models(args) => models::run(args),
        CliCommand::Mqtt(args) => mqtt::run(args),
        CliCommand::Bench(args) => bench::run(args),
        CliCommand::Devices(args) => devices::run(args),
        CliCommand::Setup(args) => setup::setup(&args),
        CliCommand::Check(args) => check::run(args),
        CliCommand::Completions(args) => manpages::completions(&args, CommandLine::command()),
        CliCommand::Man(args) => manpages::man(&args, CommandLine::command()),
        CliCommand::Manpages(args) => manpages::run(args, CommandLine::command()),
    }
}
