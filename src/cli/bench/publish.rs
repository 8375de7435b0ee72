//! `hearth bench publish`: how fast the outbox empties, compared with a plain loop of the same client, in one run.
//!
//! Both send the same messages to the same broker. The messages of the outbox are on disk before, and deleted after.

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

/// Utterances published one after the other, to measure the latency of each.
const LATENCY_SAMPLES: usize = 500;
/// Polling interval while the outbox drains.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// Polling interval while one message is waited for.
const LATENCY_POLL: Duration = Duration::from_micros(50);
/// Nothing takes longer than this unless the broker is gone.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Short enough that a broker which stops acknowledging is left and tried again within [`TIMEOUT`].
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Measure publishing.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchPublishArgs {
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

/// The figures of one run.
struct Figures {
    messages: u64,
    store_s: f64,
    drain_s: f64,
    plain_s: f64,
    p50_ms: f64,
    p95_ms: f64,
    memory_before_mib: f64,
    memory_mib: f64,
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// There is no broker, or the database cannot be created.
pub(crate) fn run(args: BenchPublishArgs) -> anyhow::Result<()> {
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .context("there is no place for a database; name one with --dir")?;
    let config = bench_config(args.url.clone())?;
    let topics = Topics::new(&config.mqtt, &config.node);
    let client = client::ClientSettings::new(&config.mqtt, &topics, config.mqtt.listen)?.with_keep_alive(KEEP_ALIVE);
    let context = services::Context::open(config, dir.path(), Arc::new(Metrics::default()))?;
    let mut store = context.open_store()?;

    let began = Instant::now();
    let mut messages = Vec::new();
    for n in 0..args.count {
        messages.push(store_utterance(&mut store, &topics, n)?);
    }
    let store_s = began.elapsed().as_secs_f64();

    let runtime = runtime()?;
    let began = Instant::now();
    runtime.block_on(publish_one_by_one(client.clone(), &messages))?;
    let plain_s = began.elapsed().as_secs_f64();
    drop(messages);

    let memory_before_mib = resident_mib();
    let (requests, _requests) = mpsc::channel(1);
    let (shutdown, shut_down) = oneshot::channel::<()>();
    let inputs = PublishInputs {
        client,
        rules: watch::channel(Vec::new()).1,
        info: NodeInfo::default(),
        requests,
        microphone: watch::Sender::default(),
        grace: Duration::from_secs(5),
    };
    let began = Instant::now();
    let task = runtime
        .spawn(publish::run(context.clone(), context.open_store()?, inputs, async move { drop(shut_down.await) }));
    let mut memory_mib = memory_before_mib;
    wait(DRAIN_POLL, || {
        memory_mib = memory_mib.max(resident_mib());
        context.metrics.acknowledged.get() >= args.count
    })?;
    let drain_s = began.elapsed().as_secs_f64();
    let latencies_ms = measure_latencies(&context, &mut store, &topics)?;
    drop(shutdown);
    let counts = runtime.block_on(task)??;
    ensure!(counts.left == 0, "{} messages are left in the outbox", counts.left);

    let quantile = |q: f64| latencies_ms[((LATENCY_SAMPLES as f64 * q) as usize).min(LATENCY_SAMPLES - 1)];
    let figures = Figures {
        messages: args.count,
        store_s,
        drain_s,
        plain_s,
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        memory_before_mib,
        memory_mib,
    };
    if args.json { figures.print_json() } else { figures.print() }
}

/// The config of the benchmark; starts an embedded broker if no `url` is given.
fn bench_config(url: Option<Broker>) -> anyhow::Result<Config> {
    let mut mqtt = MqttConfig {
        discovery: false,
        base_topic: "hearth-bench".parse().expect("it is a topic"),
        ..MqttConfig::default()
    };
    match url {
        Some(url) if url != Broker::Embedded => mqtt.url = url,
        _ => mqtt.listen = broker::start(([127, 0, 0, 1], 0).into(), None)?.address,
    }
    Ok(Config {
        node: format!("bench-{}", std::process::id()).parse().expect("digits make a name"),
        mqtt,
        store: config::StoreConfig { outbox_max_mib: 4 << 10, ..config::StoreConfig::default() },
        ..Config::default()
    })
}

/// Publishes utterances one after the other. Returns the sorted latencies from before the store to the acknowledgement.
fn measure_latencies(context: &services::Context, store: &mut Store, topics: &Topics) -> anyhow::Result<Vec<f64>> {
    let mut latencies_ms = Vec::new();
    for n in 0..LATENCY_SAMPLES as u64 {
        let before = context.metrics.acknowledged.get();
        let began = Instant::now();
        store_utterance(store, topics, n)?;
        context.notify_outbox();
        wait(LATENCY_POLL, || context.metrics.acknowledged.get() > before)?;
        latencies_ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    latencies_ms.sort_by(f64::total_cmp);
    Ok(latencies_ms)
}

impl Figures {
    fn per_s(&self, seconds: f64) -> f64 {
        self.messages as f64 / seconds
    }

    fn print_json(&self) -> anyhow::Result<()> {
        let figures = json!({
            "messages": self.messages, "stored_per_s": self.per_s(self.store_s),
            "drained_per_s": self.per_s(self.drain_s), "plain_per_s": self.per_s(self.plain_s),
            "p50_ms": self.p50_ms, "p95_ms": self.p95_ms,
            "memory_before_mib": self.memory_before_mib, "memory_mib": self.memory_mib,
        });
        writeln!(stdout(), "{figures}")?;
        Ok(())
    }

    fn print(&self) -> anyhow::Result<()> {
        let Self { p50_ms, p95_ms, memory_before_mib, memory_mib, .. } = self;
        let (stored, drained, plain) = (self.per_s(self.store_s), self.per_s(self.drain_s), self.per_s(self.plain_s));
        let mut out = stdout();
        writeln!(out, "utterances stored, each with its message, each durable   {stored:8.0} a second")?;
        writeln!(out, "the outbox drained, each message acknowledged            {drained:8.0} a second")?;
        writeln!(out, "a plain loop that awaits each acknowledgement            {plain:8.0} a second")?;
        writeln!(
            out,
            "from before the store to the acknowledgement             p50 {p50_ms:.2} ms, p95 {p95_ms:.2} ms"
        )?;
        writeln!(
            out,
            "memory while it drained                                  {memory_mib:.0} MiB, {memory_before_mib:.0} before"
        )?;
        Ok(())
    }
}

/// Stores an utterance of usual length with its message.
fn store_utterance(store: &mut Store, topics: &Topics, n: u64) -> anyhow::Result<Message> {
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
        speaker: None,
    };
    let message = payload::utterance(topics, &utterance);
    store.record_utterance(&utterance, std::slice::from_ref(&message))?;
    Ok(message)
}

/// As most programs do: publish, wait for the acknowledgement, publish the next.
async fn publish_one_by_one(settings: client::ClientSettings, messages: &[Message]) -> anyhow::Result<()> {
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

/// Polls `done` until it is true.
fn wait(interval: Duration, mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
    let end = Instant::now() + TIMEOUT;
    while !done() {
        ensure!(Instant::now() < end, "the broker acknowledged nothing for {} s", TIMEOUT.as_secs());
        std::thread::sleep(interval);
    }
    Ok(())
}
