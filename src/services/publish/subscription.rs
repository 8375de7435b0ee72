//! What the broker is asked to pass on.
//!
//! Owns the retreat from a message that is too long to take: somebody left it, and the broker would send it at each
//! connection. Refuses to know what a command says. Invariant: such a message costs a few connections and never the
//! commands, unless the broker lets nobody remove it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use super::outbox_sender::{OutboxSender, OutgoingKind};
use crate::commands;
use crate::event::Message;
use crate::mqtt::topics::Topics;

/// What comes so soon after we asked for it was kept for us.
const SOON: Duration = Duration::from_secs(10);
/// How long nothing is asked for when all else failed.
const REST: Duration = Duration::from_secs(600);

/// How much is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SubscriptionLevel {
    /// All that could be a command, so that a mistyped one is answered too, and Home Assistant's start.
    #[default]
    Freely,
    /// The commands there are, after what was left at their topics was removed; and Home Assistant's start.
    Each,
    /// The commands there are.
    Alone,
    Nothing,
}

/// What is asked for now.
#[derive(Debug, Default)]
pub(super) struct CommandSubscription {
    asking: SubscriptionLevel,
    connected: Option<Instant>,
    again_at: Option<Instant>,
}

impl CommandSubscription {
    pub(super) fn connected(&mut self, sending: &mut OutboxSender, topics: &Topics) {
        let now = Instant::now();
        self.connected = Some(now);
        match self.asking {
            SubscriptionLevel::Freely => self.ask(sending, topics),
            SubscriptionLevel::Each | SubscriptionLevel::Alone => sweep(sending, topics),
            SubscriptionLevel::Nothing => {
                error!("commands are not heard: a message is in their way that hearth can neither take nor remove");
                self.again_at = Some(now + REST);
            }
        }
    }

    /// What was left at the commands' topics is removed. A retained command is never carried out, so nothing is lost.
    pub(super) fn swept(&self, sending: &OutboxSender, topics: &Topics) {
        self.ask(sending, topics);
    }

    fn ask(&self, sending: &OutboxSender, topics: &Topics) {
        let home_assistant = (self.asking != SubscriptionLevel::Alone).then(|| topics.home_assistant());
        let asked = match self.asking {
            SubscriptionLevel::Freely => sending.subscribe(topics.commands().into_iter().chain(home_assistant)),
            _ => sending.subscribe(commands::topics(topics).chain(home_assistant)),
        };
        if asked.is_err() {
            error!("the client takes no subscription: commands are not heard until the next connection");
        }
    }

    /// The connection went away, because of a message too long to take or for another reason.
    pub(super) fn lost(&mut self, too_long: bool) {
        let lasted = self.connected.take().map(|since| since.elapsed());
        self.again_at = None;
        self.asking = match (too_long, lasted) {
            (false, Some(lasted)) if lasted >= SOON => SubscriptionLevel::Freely,
            (false, _) => self.asking,
            // One that is sent to us now is not kept for us: only care is due.
            (true, Some(lasted)) if lasted >= SOON => SubscriptionLevel::Each,
            (true, _) => self.asking.less(),
        };
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.again_at
    }

    pub(super) fn deadline_passed(&mut self, now: Instant, sending: &mut OutboxSender, topics: &Topics) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            self.asking = SubscriptionLevel::Each;
            self.connected = Some(now);
            sweep(sending, topics);
        }
    }
}

impl SubscriptionLevel {
    fn less(self) -> Self {
        match self {
            Self::Freely => Self::Each,
            Self::Each => Self::Alone,
            Self::Alone | Self::Nothing => Self::Nothing,
        }
    }
}

fn sweep(sending: &mut OutboxSender, topics: &Topics) {
    let mut empty: Vec<_> = commands::topics(topics).map(|topic| (OutgoingKind::Own, Message::clear(topic))).collect();
    if let Some((ticket, _)) = empty.last_mut() {
        *ticket = OutgoingKind::Swept;
    }
    info!("what was left at the commands' topics is removed: a message that came is too long to take");
    sending.announce(empty);
}
