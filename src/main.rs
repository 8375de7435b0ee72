//! The process edge: arguments in, an exit code out.
//!
//! 0: done. 1: it failed. 78 (`EX_CONFIG` of sysexits.h): the config is wrong, and trying again will not help.

use std::any::Any;
use std::panic;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use hearth::cli::{
    self, ask, bench, check, demo, devices, forget, generate, manpages, models, mqtt, rules, run, status, transcribe,
};

#[derive(Parser)]
#[command(version, about = "Listens to a room, keeps the gist, tells the house. Nothing leaves this machine but MQTT.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon: hear, read, publish
    Run(run::Args),
    /// How the running daemon is: what it hears, reads and tells
    Status(status::Args),
    /// Show it at work on a bundled recording of a household
    Demo(demo::Args),
    /// Turn audio files into text
    Transcribe(transcribe::Args),
    /// Answer questions about what was said
    Ask(ask::Args),
    /// Delete what was said lately, everywhere on this machine
    Forget(forget::Args),
    /// Continue a prompt with a RecurrentGemma model
    Generate(generate::Args),
    /// Try rules on what was said before
    Rules(rules::Args),
    /// Fetch, quantise, list, show and verify models
    Models(models::Args),
    /// Take back what was left at the broker
    Mqtt(mqtt::Args),
    /// Measure speed on this machine
    Bench(bench::Args),
    /// List microphones
    Devices(devices::Args),
    /// Tell everything that is wrong with a config, and probe what it names
    Check(check::Args),
    /// Write manual pages and shell completions
    #[command(alias = "papers", hide = true)]
    Manpages(manpages::Args),
}

/// Whoever reads our output has seen enough, as `hearth status | head -1`: std takes that for a panic.
fn nobody_reads(panic: &(dyn Any + Send)) -> bool {
    let said = panic.downcast_ref::<String>().map_or("", String::as_str);
    said.starts_with("failed printing to stdout") && said.contains("Broken pipe")
}

fn main() -> ExitCode {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !nobody_reads(info.payload()) {
            usual(info);
        }
    }));
    let command = Cli::parse().command;
    match panic::catch_unwind(|| carry_out(command)) {
        Ok(code) => code,
        Err(panic) if nobody_reads(&*panic) => ExitCode::SUCCESS,
        Err(panic) => panic::resume_unwind(panic),
    }
}

fn carry_out(command: Command) -> ExitCode {
    if !matches!(command, Command::Run(_) | Command::Demo(_)) {
        cli::warn_on_stderr();
    }
    let done = match command {
        Command::Run(args) => run::run(args),
        Command::Status(args) => status::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Transcribe(args) => transcribe::run(args),
        Command::Ask(args) => ask::run(args),
        Command::Forget(args) => forget::run(args),
        Command::Rules(args) => rules::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Models(args) => models::run(args),
        Command::Mqtt(args) => mqtt::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Check(args) => check::run(args),
        Command::Manpages(args) => manpages::run(args, Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::report(&error),
    }
}
