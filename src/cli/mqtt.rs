//! `hearth mqtt commands` lists commands; `hearth mqtt clear` deletes everything that this machine left at its broker.
//!
//! `clear` reads the retained messages below the machine's topics and its Home Assistant discovery messages, and deletes them. It
//! reports success only when the broker acknowledged every deletion, and deletes nothing while a hearth with this name runs.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};

use super::output::stdout;
use super::run::{read_config, runtime};
use crate::commands;
use crate::config::Broker;
use crate::event::Message;
use crate::mqtt::client::{self, BrokerEvent, Connection, MqttSender};
use crate::mqtt::payload;
use crate::mqtt::topics::Topics;

/// The longest wait for one step of the broker.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct MqttArgs {
    #[command(subcommand)]
    command: MqttCommand,
}

#[derive(clap::Subcommand)]
enum MqttCommand {
    /// List the commands that a running hearth takes, as in docs/mqtt.md
    Commands,
    /// Delete every retained message and the Home Assistant device of this machine at its broker
    Clear {
        /// The config file; by default the system's
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub(crate) fn run(args: MqttArgs) -> anyhow::Result<()> {
    let config = match args.command {
        MqttCommand::Commands => return Ok(write!(stdout(), "{}", commands::documentation())?),
        MqttCommand::Clear { config } => config,
    };
    let config = read_config(config.as_deref())?;
    ensure!(
        config.mqtt.url != Broker::Embedded,
        "the embedded broker keeps nothing over a restart: there is nothing to clear; [mqtt] url names another broker"
    );
    let topics = Topics::new(&config.mqtt, &config.node);
    let mqtt = config.mqtt_paths();
    let settings = client::ClientSettings::new(&mqtt, &topics, mqtt.listen)?;
    let cleared = runtime()?.block_on(clear(settings, &topics))?;
    for topic in &cleared {
        writeln!(stdout(), "{topic}")?;
    }
    writeln!(stdout(), "{} retained messages of {} are deleted", cleared.len(), topics.node())?;
    Ok(())
}

async fn clear(settings: client::ClientSettings, topics: &Topics) -> anyhow::Result<BTreeSet<String>> {
    let (sender, mut connection) = client::observe(settings.clone(), "clear");
    let found = retained_topics(&sender, &mut connection, topics).await?;
    // The broker need not keep the messages of other machines for this one any more.
    client::end_persistent_session(&settings, STEP_TIMEOUT).await?;
    let mut left: Vec<&String> = found.iter().collect();
    let mut waiting = 0;
    while !left.is_empty() || waiting > 0 {
        // The client queues a few messages at a time.
        while let Some(topic) = left.pop() {
            let empty = Message::clear(topic.clone());
            if sender.try_publish(&empty).is_err() {
                left.push(topic);
                break;
            }
            waiting += 1;
        }
        if let BrokerEvent::Acknowledged(_) = next(&mut connection).await? {
            waiting -= 1;
        }
    }
    // Whether the DISCONNECT arrives does not matter.
    if sender.disconnect().is_ok() {
        let _ = next(&mut connection).await;
    }
    Ok(found)
}

/// The retained topics of the machine. A message that we send to ourselves after subscribing arrives after the last retained
/// one, which ends the list.
async fn retained_topics(
    sender: &MqttSender,
    connection: &mut Connection,
    topics: &Topics,
) -> anyhow::Result<BTreeSet<String>> {
    let mark = topics.response("clear");
    let mut found = BTreeSet::new();
    loop {
        match next(connection).await? {
            BrokerEvent::Connected { .. } => {
                let filters = [topics.everything(), topics.discovery(), topics.discovery_of_entities()];
                ensure!(sender.subscribe(filters).is_ok(), "the client takes no subscription");
            }
            BrokerEvent::Subscribed => {
                let mark = Message::plain(mark.clone(), "{}", false);
                ensure!(sender.try_publish(&mark).is_ok(), "the client takes no message");
            }
            BrokerEvent::SubscriptionRefused => bail!("the broker does not let this user read {}", topics.everything()),
            BrokerEvent::Message { topic, payload, retain: true, .. } => {
                let running = topic == topics.status() && payload == payload::ONLINE.as_bytes();
                ensure!(!running, "a hearth runs as \"{}\" at this broker: stop it first", topics.node());
                found.insert(topic);
            }
            BrokerEvent::TooLong { topic, retain: true, .. } => drop(found.insert(topic)),
            BrokerEvent::Message { topic, .. } if topic == mark => return Ok(found),
            _ => {}
        }
    }
}

/// The next event; a lost connection is an error here.
async fn next(connection: &mut Connection) -> anyhow::Result<BrokerEvent> {
    match tokio::time::timeout(STEP_TIMEOUT, connection.poll()).await {
        Ok(BrokerEvent::Lost(error)) => Err(error.into()),
        Ok(event) => Ok(event),
        Err(_) => bail!("the broker does not answer for {} s", STEP_TIMEOUT.as_secs()),
    }
}
