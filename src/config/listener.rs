//! `[listener]`: the model that reads the transcript, its states and their snapshots.

use std::path::PathBuf;

use griffin::Quantization;
use serde::{Deserialize, Serialize};

/// The model that reads the transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerConfig {
    /// false: this machine only transcribes and publishes utterances.
    pub(crate) enabled: bool,
    /// A bundled model's name, a directory in Hugging Face layout, or a GGUF file.
    pub(crate) model: PathBuf,
    /// How the weights are held in memory; a GGUF file's are held as they are.
    pub(crate) weights: Quantization,
    /// 0: as many as the machine has cores.
    pub(crate) threads: usize,
    /// The text that the model reads first; by default the model's own.
    pub(crate) preamble: Option<String>,
    /// One state for all rooms, or one for each.
    pub(crate) states: States,
    /// False alarms raise the threshold of their rule.
    pub(crate) learn_from_feedback: bool,
    /// When a fresh state takes the place of the live one.
    pub(crate) renew: RenewWhen,
    /// Minutes between snapshots of the state.
    pub(crate) snapshot_min: f64,
    /// The last snapshot of each of so many hours, and of so many days, is kept; together at most so many MiB.
    pub(crate) snapshots_hourly: usize,
    pub(crate) snapshots_daily: usize,
    pub(crate) snapshots_max_mib: u32,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            model: "recurrentgemma-nano".into(),
            weights: Quantization::default(),
            threads: 0,
            preamble: None,
            states: States::default(),
            learn_from_feedback: true,
            renew: RenewWhen::default(),
            snapshot_min: 5.0,
            snapshots_hourly: 24,
            snapshots_daily: 30,
            snapshots_max_mib: 1024,
        }
    }
}

/// What the watcher can listen for ([`crate::watcher`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchKind {
    Help,
    Fire,
    Leak,
    Intruder,
    Door,
    Delivery,
    Medicine,
    LeftOn,
}

impl WatchKind {
    /// In the order of their declaration.
    pub(crate) const ALL: [Self; 8] =
        [Self::Help, Self::Fire, Self::Leak, Self::Intruder, Self::Door, Self::Delivery, Self::Medicine, Self::LeftOn];

    /// The question about it that the bundled models were trained on.
    pub(crate) fn question(self) -> &'static str {
        match self {
            Self::Help => "Is someone hurt or calling for help?",
            Self::Fire => "Is there a fire?",
            Self::Leak => "Is water leaking in the house?",
            Self::Intruder => "Is someone trying to break in?",
            Self::Door => "Is someone at the door?",
            Self::Delivery => "Was something delivered?",
            Self::Medicine => "Did someone forget their medicine?",
            Self::LeftOn => "Is anything left open or switched on by mistake?",
        }
    }

    /// Its name in the config.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Help => "help",
            Self::Fire => "fire",
            Self::Leak => "leak",
            Self::Intruder => "intruder",
            Self::Door => "door",
            Self::Delivery => "delivery",
            Self::Medicine => "medicine",
            Self::LeftOn => "left_on",
        }
    }
}

/// Which utterances a state reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum States {
    /// One state reads all rooms.
    #[default]
    House,
    /// Each room has its own state.
    Room,
}

/// When a state is renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewWhen {
    /// When a fresh one predicts better what is said.
    #[default]
    WhenWorse,
    /// Only when somebody asks for it.
    Never,
    /// Every night.
    Nightly,
}
