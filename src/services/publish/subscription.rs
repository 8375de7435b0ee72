//! Which topics are subscribed to: the commands, and Home Assistant's start.
//!
//! A retained message that is too long to take would come with each connection, and end it. Then less is subscribed to, and what
//! is retained on the commands' topics is removed. So such a message costs a few connections and never the commands, unless the
//! broker lets nobody remove it.
//!
//! What was retained comes right after the subscription: before the broker acknowledges what hearth sent after that. A message
//! that comes later will not come again, and never leads to subscribing to less than the commands.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use super::outbox_sender::{OutboxSender, OutgoingKind};
use crate::commands;
use crate::event::Message;
use crate::mqtt::topics::Topics;

/// A connection that lasted so long was a good one.
const SOON: Duration = Duration::from_secs(10);
/// How long nothing is subscribed to when all else failed.
const REST: Duration = Duration::from_secs(600);

/// How much is subscribed to, from most to least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum SubscriptionLevel {
    /// All that could be a command, so that a mistyped one is answered too, and Home Assistant's start.
    #[default]
    Everything,
    /// The commands that exist, after what is retained on their topics was removed; and Home Assistant's start.
    EachCommand,
    /// The commands that exist.
    CommandsOnly,
    Nothing,
}

/// What is subscribed to now.
#[derive(Debug, Default)]
pub(super) struct CommandSubscription {
    level: SubscriptionLevel,
    connected: Option<Instant>,
    /// The broker accepted the subscription.
    subscribed: bool,
    /// What the broker had retained has come.
    settled: bool,
    retry_at: Option<Instant>,
}

impl CommandSubscription {
    pub(super) fn connected(&mut self, outbox: &mut OutboxSender, topics: &Topics) {
        let now = Instant::now();
        self.connected = Some(now);
        (self.subscribed, self.settled) = (false, false);
        match self.level {
            SubscriptionLevel::Everything => self.subscribe(outbox, topics),
            SubscriptionLevel::EachCommand | SubscriptionLevel::CommandsOnly => clear_command_topics(outbox, topics),
            SubscriptionLevel::Nothing => {
                error!("commands are not heard: a message is in their way that hearth can neither take nor remove");
                self.retry_at = Some(now + REST);
            }
        }
    }

    /// What was retained on the commands' topics is removed. A retained command is never carried out, so nothing is lost.
    pub(super) fn cleared(&self, outbox: &OutboxSender, topics: &Topics) {
        self.subscribe(outbox, topics);
    }

    fn subscribe(&self, outbox: &OutboxSender, topics: &Topics) {
        let home_assistant =
            (self.level != SubscriptionLevel::CommandsOnly).then(|| topics.home_assistant()).into_iter().flatten();
        let subscribed = match self.level {
            SubscriptionLevel::Everything => outbox.subscribe(topics.commands().into_iter().chain(home_assistant)),
            _ => outbox.subscribe(commands::topics(topics).chain(home_assistant)),
        };
        if subscribed.is_err() {
            error!("the client takes no subscription: commands are not heard until the next connection");
        }
    }

    /// The broker accepted the subscription.
    pub(super) fn subscribed(&mut self) {
        self.subscribed = true;
    }

    /// The broker acknowledged a message.
    pub(super) fn acknowledged(&mut self) {
        self.settled |= self.subscribed;
    }

    /// The connection went away, because of a message too long to take or for another reason.
    pub(super) fn lost(&mut self, too_long: bool) {
        let lasted = self.connected.take().map(|since| since.elapsed());
        self.retry_at = None;
        self.level = match (too_long, lasted) {
            (false, Some(lasted)) if lasted >= SOON => SubscriptionLevel::Everything,
            (false, _) => self.level,
            // A message that was not retained: it will not come again.
            (true, _) if self.settled => self.level.max(SubscriptionLevel::EachCommand),
            (true, _) => self.level.less(),
        };
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(super) fn deadline_passed(&mut self, now: Instant, outbox: &mut OutboxSender, topics: &Topics) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.level = SubscriptionLevel::EachCommand;
            self.connected = Some(now);
            (self.subscribed, self.settled) = (false, false);
            clear_command_topics(outbox, topics);
        }
    }
}

impl SubscriptionLevel {
    fn less(self) -> Self {
        match self {
            Self::Everything => Self::EachCommand,
            Self::EachCommand => Self::CommandsOnly,
            Self::CommandsOnly | Self::Nothing => Self::Nothing,
        }
    }
}

fn clear_command_topics(outbox: &mut OutboxSender, topics: &Topics) {
    let clear = |topic| (OutgoingKind::Announcement, Message::clear(topic));
    let mut empty: Vec<_> = commands::topics(topics).map(clear).collect();
    if let Some((kind, _)) = empty.last_mut() {
        *kind = OutgoingKind::LastCleared;
    }
    info!("what was left at the commands' topics is removed: a message that came is too long to take");
    outbox.announce(empty);
}
