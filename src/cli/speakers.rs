//! `hearth speakers`: whose voices are known.
//!
//! Reads and writes the database, beside a daemon that may run: it looks there for each utterance.

mod sound;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::json;
use ulid::Ulid;

use super::output::stdout;
use super::run::{existing_state_dir, read_config};
use super::terminal::{DIM, colored, colors, hint, local};
use crate::config::{Config, SourceConfig};
use crate::event::{Speaker, StoredVoice, VoiceEmbedding};
use crate::speakers::VoiceEncoder;
use crate::speakers::enrollment::{check_name, check_sound};
use crate::speakers::recognition::{self, KnownVoice};
use crate::store::Store;

/// Tell people by their voices. Ask them first: docs/speakers.md
#[derive(Debug, clap::Args)]
pub(crate) struct SpeakersArgs {
    #[command(subcommand)]
    command: SpeakersCommand,
    /// The config file of the daemon; by default /etc/hearth/hearth.toml, and the built-in defaults where there is none
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum SpeakersCommand {
    /// Learn a voice: from the microphone, from recordings, or from what was said before
    Enroll {
        name: String,
        /// Recordings in which this person alone speaks; without any, the microphone is listened to
        files: Vec<PathBuf>,
        /// An utterance that this person said, by its id as in `hearth history --json`; may be given several times
        #[arg(long, value_name = "ID", conflicts_with = "files")]
        utterance: Vec<Ulid>,
        /// The microphone, as `hearth devices` names it; by default that of the config
        #[arg(long, value_name = "NAME", conflicts_with_all = ["files", "utterance"])]
        device: Option<String>,
        /// Also if the voice is unlike the one of this name that is known, or like somebody else's
        #[arg(long)]
        force: bool,
    },
    /// Show whose voices are known
    List {
        /// One line of JSON for each name
        #[arg(long)]
        json: bool,
    },
    /// Delete a voice, and take the name out of what is stored; what was said stays
    Forget { name: String },
    /// Give a name to a voice that has none, or another one
    Rename {
        from: String,
        to: String,
        /// Also if the voice is unlike the one of the new name
        #[arg(long)]
        force: bool,
    },
}

/// # Errors
/// There is no database, no such person, or the sound does not do.
pub(crate) fn run(args: SpeakersArgs) -> anyhow::Result<()> {
    let config = read_config(args.config.as_deref())?;
    let dir = existing_state_dir(&config)?;
    // Makes nothing where no hearth ever ran: the first start of a daemon finds no database, and keeps its microphone closed.
    let mut store = Store::open_read_only(&dir, (&config.store).into()).context("let hearth run once first")?;
    if !matches!(args.command, SpeakersCommand::List { .. }) {
        store = Store::open(&dir, (&config.store).into())?;
    }
    match args.command {
        SpeakersCommand::Enroll { name, files, utterance, device, force } => {
            let name = PersonName::new(&name, &store)?;
            if utterance.is_empty() {
                enroll_sound(&config, &mut store, &name, &files, device, force)?;
            } else {
                enroll_utterances(&config, &mut store, &name, &utterance, force)?;
            }
            if !config.speakers.enabled {
                hint(
                    "[speakers] enabled is false, so nobody is told by this yet: set it to true and start hearth anew",
                );
            }
            Ok(())
        }
        SpeakersCommand::List { json } => list(&config, &store, json),
        SpeakersCommand::Forget { name } => forget(&mut store, &name),
        SpeakersCommand::Rename { from, to, force } => rename(&config, &mut store, &from, &to, force),
    }
}

/// A name as it is written where it is known already.
struct PersonName {
    text: String,
    /// Somebody of this name is enrolled.
    enrolled: bool,
}

impl PersonName {
    fn new(name: &str, store: &Store) -> anyhow::Result<Self> {
        Speaker::check_name(name).map_err(|wrong| anyhow!("nobody can be called {name:?}: {wrong}"))?;
        let number = Speaker::unnamed(&name.to_lowercase()).is_some();
        ensure!(!number, "{name:?} is the number of a voice without a name; rename it first");
        let same = |voice: &&StoredVoice| is_called(voice, name);
        let enrolled = store.enrolled_voices()?.iter().find(same).and_then(|voice| voice.speaker.clone());
        Ok(Self { enrolled: enrolled.is_some(), text: enrolled.unwrap_or_else(|| name.into()) })
    }
}

fn is_called(voice: &StoredVoice, name: &str) -> bool {
    voice.speaker.as_ref().is_some_and(|known| known.to_lowercase() == name.to_lowercase())
}

fn known(store: &Store, encoder: &VoiceEncoder) -> anyhow::Result<Vec<KnownVoice>> {
    Ok(recognition::known(&store.enrolled_voices()?, encoder.model()).0)
}

fn enroll_sound(
    config: &Config,
    store: &mut Store,
    name: &PersonName,
    files: &[PathBuf],
    device: Option<String>,
    force: bool,
) -> anyhow::Result<()> {
    let encoder = VoiceEncoder::find(&config.base)?;
    let voices = if files.is_empty() {
        let device = device.or_else(|| microphone(config)).unwrap_or_else(|| "default".into());
        sound::of_microphone(&device, &name.text, &encoder)?
    } else {
        sound::of_files(files, &encoder)?
    };
    let mean = check_sound(&voices)?;
    if !force {
        check_name(&name.text, &mean, &known(store, &encoder)?)?;
    }
    store.enroll(&name.text, &voices)?;
    let seconds = voices.iter().map(|voice| voice.seconds).sum::<f32>();
    let what = if name.enrolled { "more of the voice is" } else { "the voice is" };
    writeln!(stdout(), "{}: {what} enrolled, by {seconds:.0} s of speech", name.text)?;
    Ok(())
}

/// The microphone of the config.
fn microphone(config: &Config) -> Option<String> {
    config.sources().into_iter().find_map(|(_, source)| match source {
        SourceConfig::Microphone(microphone) => Some(microphone.device),
        _ => None,
    })
}

fn enroll_utterances(
    config: &Config,
    store: &mut Store,
    name: &PersonName,
    utterances: &[Ulid],
    force: bool,
) -> anyhow::Result<()> {
    let encoder = VoiceEncoder::find(&config.base)?;
    for id in utterances {
        let voice = store.voice_of(*id)?.with_context(|| {
            format!("no voice is stored of an utterance {id}: it was too short, is gone, or was heard while [speakers] was off")
        })?;
        let embedding = usable(&voice, &encoder).with_context(|| format!("the utterance {id} cannot be used"))?;
        if !force {
            check_name(&name.text, embedding, &known(store, &encoder)?)?;
        }
        store.enroll_utterance(&name.text, *id)?;
    }
    writeln!(stdout(), "{}: {} of what was said before is enrolled", name.text, utterances.len())?;
    Ok(())
}

fn usable<'a>(voice: &'a StoredVoice, encoder: &VoiceEncoder) -> anyhow::Result<&'a VoiceEmbedding> {
    let embedding = voice.embedding.as_ref().context("its voice is damaged in the database")?;
    ensure!(voice.model == encoder.model(), "its voice was made by another voice encoder ({})", voice.model);
    Ok(embedding)
}

fn list(config: &Config, store: &Store, json: bool) -> anyhow::Result<()> {
    let encoder = VoiceEncoder::find(&config.base)?;
    let (speakers, enrolled) = (store.speakers()?, store.enrolled_voices()?);
    let (mut out, colors) = (stdout(), colors());
    for record in &speakers {
        let own: Vec<_> = enrolled.iter().filter(|voice| is_called(voice, &record.name)).collect();
        let seconds = own.iter().map(|voice| voice.seconds).sum::<f32>();
        let unusable = own.iter().find_map(|voice| usable(voice, &encoder).err());
        if json {
            let line = json!({
                "name": record.name, "enrolled_s": (seconds * 10.0).round() / 10.0, "utterances": record.utterances, "heard": record.heard,
                "problem": unusable.map(|problem| problem.to_string()),
            });
            writeln!(out, "{line}")?;
            continue;
        }
        let voice = if own.is_empty() { "not enrolled".into() } else { format!("{seconds:.0} s enrolled") };
        let heard = record.heard.map(|time| format!(", last {}", local(time))).unwrap_or_default();
        let said = colored(colors, DIM, &format!("{} utterances{heard}", record.utterances));
        writeln!(out, "{:20}  {voice:14}  {said}", record.name)?;
        if let Some(problem) = unusable {
            writeln!(out, "{:20}  {problem}: `hearth speakers forget` it, and enroll anew", "")?;
        }
    }
    if speakers.is_empty() {
        hint("nobody is known: `hearth speakers enroll NAME`");
    }
    Ok(())
}

/// The name as it is stored.
fn existing(store: &Store, name: &str) -> anyhow::Result<String> {
    let all = store.speakers()?;
    match all.iter().find(|known| known.name.to_lowercase() == name.to_lowercase()) {
        Some(known) => Ok(known.name.clone()),
        None if all.is_empty() => bail!("nobody is known, so not {name:?} either"),
        None => {
            let names: Vec<_> = all.into_iter().map(|known| known.name).collect();
            bail!("nobody is called {name:?}; known are {}", names.join(", "))
        }
    }
}

fn forget(store: &mut Store, name: &str) -> anyhow::Result<()> {
    let name = existing(store, name)?;
    store.forget_speaker(&name)?;
    writeln!(stdout(), "{name}: the voice is deleted, and the name is out of what is stored here")?;
    hint("what was published before has the name still; what was said stays: `hearth forget` deletes that");
    Ok(())
}

fn rename(config: &Config, store: &mut Store, from: &str, to: &str, force: bool) -> anyhow::Result<()> {
    let from = existing(store, from)?;
    let to = PersonName::new(to, store)?;
    let unnamed = Speaker::unnamed(&from).is_some();
    let respelled = from.to_lowercase() == to.text.to_lowercase();
    ensure!(
        unnamed || respelled || !to.enrolled,
        "there is a {} already: two people need two names, as \"{} B.\"",
        to.text,
        to.text
    );
    if unnamed && !force {
        let encoder = VoiceEncoder::find(&config.base)?;
        let own: Vec<_> =
            store.unnamed_voices(usize::MAX)?.into_iter().filter(|voice| is_called(voice, &from)).collect();
        let (voices, _) = recognition::known(&own, encoder.model());
        if let Some(voice) = voices.first() {
            check_name(&to.text, voice.mean(), &known(store, &encoder)?)?;
        }
    }
    store.rename_speaker(&from, &to.text)?;
    writeln!(stdout(), "{from} is {} now", to.text)?;
    Ok(())
}
