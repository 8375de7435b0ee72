//! `hearth bench publish`: how fast the outbox empties here, beside a plain loop of the same client, in one run.
//!
//! Owns what is measured and how it is shown. Invariant: both ends of each comparison send the same messages to the same
//! broker; the outbox's are on disk before and gone from it after.

use crate::cli::output::stdout;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use ulid::Ulid;

use crate::cli::run::runtime;
use crate::config::{self, Broker, Config, MqttConfig};
use crate::event::{Message, Utterance};
use crate::metrics::Metrics;
use crate::mqtt::payload::{self, NodeInfo};
use crate::mqtt::topics::Topics;
use crate::mqtt::{broker, client};
use crate::process::resident_bytes;
use crate::services;
use crate::services::publish::{self, PublishInputs};
use crate::store::Store;

/// Utterances that are said while the broker listens, one after the other, to see how long each takes.
const LIVE: usize = 500;
/// Between two looks at a counter: while the outbox drains, and while one message is waited for.
const LOOK: Duration = Duration::from_millis(5);
const LOOK_CLOSELY: Duration = Duration::from_micros(50);
/// Nothing here takes so long unless the broker is gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measure publishing.
#[derive(Debug, clap::Args)]
pub struct BenchPublishArgs {
    /// Utterances that wait in the outbox when the broker comes
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// A broker to measure with; by default an embedded one. It is told nothing that it keeps
    #[arg(long, value_name = "mqtt://HOST:PORT")]
    url: Option<Broker>,
    /// Where the database lies while it is measured; by default a temporary directory
    #[arg(long, value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When there is no broker, or no place for the database.
pub fn run(args: BenchPublishArgs) -> anyhow::Result<()> {
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .context("there is no place for a database; name one with --dir")?;
    let mut mqtt = MqttConfig {
        discovery: false,
        base_topic: "hearth-bench".parse().expect("it is a topic"),
        ..MqttConfig::default()
    };
    if let Some(url) = args.url.clone().filter(|url| *url != Broker::Embedded) {
        mqtt.url = url;
    } else {
        mqtt.listen = broker::start(([127, 0, 0, 1], 0).into(), None)?;
    }
    let node = format!("bench-{}", std::process::id()).parse().expect("digits make a name");
    let topics = Topics::new(&mqtt, &node);
    let settings = client::ClientSettings::new(&mqtt, &topics, mqtt.listen)?;

    let config = Config {
        node,
        mqtt,
        store: config::StoreConfig { outbox_max_mib: 4 << 10, ..config::StoreConfig::default() },
        ..Config::default()
    };
    let metrics = Arc::new(Metrics::default());
    let context = services::Context::open(config, dir.path(), metrics.clone())?;
    let mut filling = context.open_store()?;
    let began = Instant::now();
    let mut messages = Vec::new();
    for n in 0..args.count {
        messages.push(say(&mut filling, &topics, n)?);
    }
    let store_s = began.elapsed().as_secs_f64();

    let runtime = runtime()?;
    let began = Instant::now();
    runtime.block_on(plain(settings.clone(), &messages))?;
    let plain_s = began.elapsed().as_secs_f64();
    drop(messages);

    let memory_before_mib = resident_mib();
    let (requests, _requests) = mpsc::channel(1);
    let (drain, drained) = oneshot::channel::<()>();
    let publishing = PublishInputs {
        client: settings,
        rules: watch::channel(Vec::new()).1,
        info: NodeInfo::default(),
        requests,
        microphone: watch::Sender::default(),
        grace: Duration::from_secs(5),
    };
    let began = Instant::now();
    let task = runtime
        .spawn(publish::run(context.clone(), context.open_store()?, publishing, async move { drop(drained.await) }));
    let mut memory_mib = memory_before_mib;
    wait(LOOK, || {
        memory_mib = memory_mib.max(resident_mib());
        metrics.acknowledged.get() >= args.count
    })?;
    let drain_s = began.elapsed().as_secs_f64();

    let mut latencies_ms = Vec::new();
    for n in 0..LIVE as u64 {
        let before = metrics.acknowledged.get();
        let began = Instant::now();
        say(&mut filling, &topics, n)?;
        context.notify_outbox();
        wait(LOOK_CLOSELY, || metrics.acknowledged.get() > before)?;
        latencies_ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    latencies_ms.sort_by(f64::total_cmp);
    let quantile = |q: f64| latencies_ms[((LIVE as f64 * q) as usize).min(LIVE - 1)];
    drop(drain);
    let counts = runtime.block_on(task)??;
    ensure!(counts.left == 0, "{} messages are left in the outbox", counts.left);

    let count = args.count as f64;
    let (p50, p95) = (quantile(0.5), quantile(0.95));
    if args.json {
        let figures = json!({
            "messages": args.count, "stored_per_s": count / store_s, "drained_per_s": count / drain_s,
            "plain_per_s": count / plain_s, "p50_ms": p50, "p95_ms": p95,
            "memory_before_mib": memory_before_mib, "memory_mib": memory_mib,
        });
        writeln!(stdout(), "{figures}")?;
        return Ok(());
    }
    writeln!(stdout(), "utterances stored, each with its message, each durable   {:8.0} a second", count / store_s)?;
    writeln!(stdout(), "the outbox drained, each message acknowledged            {:8.0} a second", count / drain_s)?;
    writeln!(stdout(), "a plain loop that awaits each acknowledgement            {:8.0} a second", count / plain_s)?;
    writeln!(stdout(), "from before the store to the acknowledgement             p50 {p50:.2} ms, p95 {p95:.2} ms")?;
    writeln!(
        stdout(),
        "memory while it drained                                  {memory_mib:.0} MiB, {memory_before_mib:.0} before"
    )?;
    Ok(())
}

/// Stores an utterance of usual length with its message.
fn say(store: &mut Store, topics: &Topics, n: u64) -> anyhow::Result<Message> {
    let now = Timestamp::now();
    let text = format!("This is utterance number {n}, and it is about as long as what people say at a table.");
    let utterance = Utterance {
        id: Ulid::generate(),
        start: now,
        end: now,
        room: "bench".into(),
        text,
        confidence: 0.9,
        no_speech: 0.1,
    };
    let message = payload::utterance(topics, &utterance);
    store.record_utterance(&utterance, std::slice::from_ref(&message))?;
    Ok(message)
}

/// What most programs do: publish, wait for the acknowledgement, publish the next.
async fn plain(settings: client::ClientSettings, messages: &[Message]) -> anyhow::Result<()> {
    let (sender, mut connection) = client::observe(settings, "plain");
    let mut left = messages.iter();
    loop {
        match connection.poll().await {
            client::BrokerEvent::Connected { .. } | client::BrokerEvent::Acknowledged(_) => match left.next() {
                Some(message) => ensure!(sender.try_publish(message).is_ok(), "the client takes no message"),
                None => return Ok(()),
            },
            client::BrokerEvent::Lost(error) => return Err(error.into()),
            _ => {}
        }
    }
}

fn resident_mib() -> f64 {
    resident_bytes() as f64 / f64::from(1 << 20)
}

fn wait(look: Duration, mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !done() {
        ensure!(Instant::now() < end, "the broker acknowledged nothing for {} s", PATIENCE.as_secs());
        std::thread::sleep(look);
    }
    Ok(())
}
