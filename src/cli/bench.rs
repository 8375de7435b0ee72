//! `hearth bench`: measures speed on this machine. Each figure stands beside the machine's limit, measured in the same run.

pub(crate) mod day;
pub(crate) mod hearing;
mod long;
mod machine;
pub(crate) mod model;
mod plot;
pub(crate) mod publish;
mod sound;
mod speakers;
mod tokens;

/// Measure speed on this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: BenchCommand,
}

#[derive(Debug, clap::Subcommand)]
enum BenchCommand {
    /// Reading and writing with a RecurrentGemma, beside what the machine can do at most
    Model(model::BenchModelArgs),
    /// Words, latency and cost of hearing a folder of recordings, beside one offline pass of the same recognizer
    Hearing(hearing::BenchHearingArgs),
    /// A simulated day of talk through the listener, on this machine or a share of it: how late alerts come
    Day(day::BenchDayArgs),
    /// Whether a state stays sound for long, and is renewed when it does not
    Sound(sound::BenchSoundArgs),
    /// How well people are told by their voices, and what it costs
    Speakers(speakers::BenchSpeakersArgs),
    /// Emptying the outbox to a broker, beside a plain loop that awaits each acknowledgement
    Publish(publish::BenchPublishArgs),
}

/// # Errors
/// As the measurement that was asked for.
pub(crate) fn run(args: BenchArgs) -> anyhow::Result<()> {
    match args.what {
        BenchCommand::Model(args) => model::run(args),
        BenchCommand::Hearing(args) => hearing::run(args),
        BenchCommand::Day(args) => day::run(args),
        BenchCommand::Sound(args) => sound::run(args),
        BenchCommand::Speakers(args) => speakers::run(args),
        BenchCommand::Publish(args) => publish::run(args),
    }
}
