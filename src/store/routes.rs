//! Which messages go where: to the broker, and to the webhooks that are told of such events.

use std::sync::Arc;

use crate::config::{Config, WebhookConfig};
use crate::event::{Destination, EventKind, Message};

/// The webhooks of the config, each with what it is told of. A clone is a handle to the same list.
#[derive(Clone, Debug, Default)]
pub struct OutboxRoutes(Arc<[(Arc<str>, WebhookConfig)]>);

impl OutboxRoutes {
    pub(crate) fn of(config: &Config) -> Self {
        Self(config.webhooks.iter().map(|hook| (Arc::from(hook.name()), hook.clone())).collect())
    }

    /// The names of the webhooks that are told of `kind`.
    pub(crate) fn told_of(&self, kind: EventKind) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().filter(move |(_, hook)| hook.events.contain(kind)).map(|(name, _)| name)
    }

    /// Every webhook with the names of what it is told of.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &'static str>)> {
        self.0.iter().map(|(name, hook)| (&**name, hook.events.names()))
    }

    /// One message for each destination.
    pub(crate) fn expand(&self, message: &Message) -> Vec<Message> {
        let Destination::Subscribers(kind) = message.destination else { return vec![message.clone()] };
        let mut messages = vec![Message { destination: Destination::Broker, ..message.clone() }];
        messages.extend(self.to_webhooks(kind, message));
        messages
    }

    /// The message for each webhook that is told of `kind`.
    pub(crate) fn to_webhooks(&self, kind: EventKind, message: &Message) -> impl Iterator<Item = Message> {
        self.told_of(kind).map(move |name| Message {
            destination: Destination::Webhook(name.clone()),
            topic: kind.name().into(),
            ..message.clone()
        })
    }
}
