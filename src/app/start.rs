//! Starts the services, and connects them.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::info;

use super::{App, AppError, Resources};
use crate::api::web::WebServer;
use crate::audio::SourceControl;
use crate::config::Broker;
use crate::services::api::ApiInputs;
use crate::services::ingest::IngestInputs;
use crate::services::listen::ListenInputs;
use crate::services::publish::PublishInputs;
use crate::services::store_retry::StoreOutage;
use crate::services::transcribe::TranscribeInputs;
use crate::services::transcript_writer::TranscriptWriter;
use crate::services::unstored_messages::UnstoredMessages;
use crate::services::{api, capture, channels, ingest, listen, mute_hook, publish, restore_live_view, transcribe};
use crate::supervisor::Supervisor;

impl App {
    /// Starts every service that the config asks for, from the end of the flow to its source.
    pub(super) fn start(resources: Resources, page: Option<WebServer>) -> Result<Self, AppError> {
        let Resources { context, lock, mut store, pipeline, listener, client, info } = resources;
        let mut supervisor = Supervisor::default();
        let parts = &mut supervisor;
        restore_live_view::utterances(&store, &context.live_feed)?;
        let state = capture::restore_microphone(&context, &mut store)?;
        let source_control = Arc::new(SourceControl::default());
        source_control.set_listening(state.is_open());
        listen::announce_interval(&context, &mut store)?;

        let (requests, remote_commands) = mpsc::channel(channels::COMMANDS);
        let (commands, local_commands) = mpsc::channel(channels::COMMANDS);
        let (microphone, microphone_changes) = watch::channel(state);
        let rules_in_force = if listener.is_some() { context.config.rules.clone() } else { Vec::new() };
        let (rules_sender, rules) = watch::channel(rules_in_force);

        let own_broker = matches!(context.config.mqtt.url, Broker::Embedded).then(|| client.clone());
        let api = api::spawn(parts, &context, ApiInputs { broker: client.url().to_string(), page, commands });
        let inputs = PublishInputs {
            client: client.clone(),
            info,
            rules,
            requests,
            microphone: microphone.clone(),
            grace: publish::GRACE,
        };
        let publish = publish::spawn(parts, &context, inputs)?;
        let listener = match listener {
            Some(listener) => Some(listen::spawn(parts, &context, ListenInputs { listener, rules: rules_sender })?),
            None => None,
        };
        let mut transcript = Some(TranscriptWriter::new(&context));
        let mut ingest = None;
        if let (Some(nodes), Some(sender)) = (context.config.source.mqtt.clone(), listener.clone())
            && let Some(transcript) = transcript.take()
        {
            ingest =
                Some(ingest::spawn(parts, &context, IngestInputs { client, nodes, transcript, listener: sender })?);
        }
        let mut transcribe = None;
        if let Some(pipeline) = pipeline {
            let (sender, audio) = capture::channel(&context);
            let inputs = TranscribeInputs { pipeline, audio, transcript, listener: listener.clone() };
            transcribe = Some(transcribe::spawn(parts, &context, inputs)?);
            capture::spawn(parts, &context, &source_control, sender)?;
        }
        mute_hook::spawn(parts, &context, microphone.subscribe());
        info!(state = %context.state_dir.display(), "hearth is up");
        Ok(Self {
            context,
            supervisor,
            store,
            confirmation: Default::default(),
            own_broker,
            _lock: lock,
            source_control,
            remote_commands,
            local_commands,
            microphone: Some(microphone),
            microphone_changes,
            microphone_unstored: false,
            microphone_messages: UnstoredMessages::default(),
            microphone_outage: StoreOutage::default(),
            transcribe,
            listener,
            ingest,
            publish: Some(publish),
            api: Some(api),
        })
    }
}
