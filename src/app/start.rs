//! Starts the services, and connects them.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::DropGuard;
use tracing::info;

use super::microphone::MicrophoneSwitch;
use super::{App, AppError, Resources};
use crate::api::web::WebServer;
use crate::asr_pipeline::AsrPipeline;
use crate::audio::SourceControl;
use crate::commands::PendingCommand;
use crate::config::Broker;
use crate::listener::pace::MachineClock;
use crate::mqtt::client::ClientSettings;
use crate::services::api::ApiInputs;
use crate::services::ingest::IngestInputs;
use crate::services::listen::{ListenInputs, ListenerEvent};
use crate::services::publish::PublishInputs;
use crate::services::transcribe::TranscribeInputs;
use crate::services::transcript_writer::TranscriptWriter;
use crate::services::{
    Context, ServiceError, api, capture, channels, ingest, listen, mute_hook, publish, restore_live_view, transcribe,
    webhooks as webhook_service,
};
use crate::supervisor::Supervisor;

impl App {
    /// Starts every service that the config asks for, from the end of the flow to its source.
    pub(super) fn start(resources: Resources, page: Option<WebServer>) -> Result<Self, AppError> {
        let Resources { context, lock, mut store, pipeline, listener, client, webhooks, info } = resources;
        let mut supervisor = Supervisor::default();
        let parts = &mut supervisor;
        restore_live_view::utterances(&store, &context.live_feed)?;
        let (microphone, asked) = MicrophoneSwitch::restore(&context, &mut store)?;
        listen::announce_interval(&context, &mut store)?;
        let (requests, remote_commands) = mpsc::channel(channels::COMMANDS);
        let (commands, local_commands) = mpsc::channel(channels::COMMANDS);
        let rules_in_force = if listener.is_some() { context.config.rules.clone() } else { Vec::new() };
        let (rules_sender, rules) = watch::channel(rules_in_force);

        let own_broker = matches!(context.config.mqtt.url, Broker::Embedded).then(|| client.clone());
        let api = api::spawn(parts, &context, ApiInputs { broker: client.url().to_string(), page, commands });
        mute_hook::spawn(parts, &context, asked.subscribe());
        let inputs =
            PublishInputs { client: client.clone(), info, rules, requests, microphone: asked, grace: publish::GRACE };
        let publish = publish::spawn(parts, &context, inputs)?;
        let webhooks = webhook_service::spawn(parts, &context, webhooks)?;
        let listener = match listener {
            Some(listener) => Some(listen::spawn(
                parts,
                &context,
                ListenInputs { listener, rules: rules_sender, clock: Arc::new(MachineClock::default()) },
            )?),
            None => None,
        };
        let hearing =
            HearingServices::start(parts, &context, pipeline, client, listener.as_ref(), microphone.sources())?;
        info!(state = %context.state_dir.display(), "hearth is up");
        Ok(Self {
            context,
            supervisor,
            store,
            confirmation: Default::default(),
            own_broker,
            _lock: lock,
            microphone,
            remote_commands,
            local_commands,
            transcribe: hearing.transcribe,
            listener,
            ingest: hearing.ingest,
            publish: Some(publish),
            webhooks,
            api: Some(api),
        })
    }
}

/// The services that bring in what is said: from the sources of this machine, and from other machines.
struct HearingServices {
    transcribe: Option<SyncSender<PendingCommand>>,
    ingest: Option<DropGuard>,
}

impl HearingServices {
    fn start(
        parts: &mut Supervisor,
        context: &Context,
        pipeline: Option<AsrPipeline>,
        client: ClientSettings,
        listener: Option<&SyncSender<ListenerEvent>>,
        sources: &Arc<SourceControl>,
    ) -> Result<Self, ServiceError> {
        let mut transcript = Some(TranscriptWriter::new(context));
        let mut ingest = None;
        if let (Some(nodes), Some(listener)) = (context.config.source.mqtt.clone(), listener.cloned())
            && let Some(transcript) = transcript.take()
        {
            ingest = Some(ingest::spawn(parts, context, IngestInputs { client, nodes, transcript, listener })?);
        }
        let mut transcribe = None;
        if let Some(pipeline) = pipeline {
            let (sender, audio) = capture::channel(context);
            let inputs = TranscribeInputs { pipeline, audio, transcript, listener: listener.cloned() };
            transcribe = Some(transcribe::spawn(parts, context, inputs)?);
            capture::spawn(parts, context, sources, sender)?;
        }
        Ok(Self { transcribe, ingest })
    }
}
