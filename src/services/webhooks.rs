//! The webhook service: a task that sends what waits in the outbox for each webhook.
//!
//! Each webhook is sent its own messages, in order and one at a time, by a future of its own: one that is slow or dead holds up neither
//! the broker nor another one. Like the publisher it never waits for anybody in order to store, and an outage never ends it.

mod health;
mod sender;

use futures_util::future::{try_join, try_join_all};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::sender::WebhookSender;
use super::{Context, ServiceError, publish};
use crate::supervisor::Supervisor;
use crate::webhook::WebhookClient;

pub(crate) const NAME: &str = "webhooks";

/// Starts the task, where there are any webhooks: a client for each of the config's, in the same order. It sends what waits, for as long as
/// the outbox may take to empty, and ends, when the guard is dropped.
///
/// # Errors
/// The store cannot be opened.
pub(crate) fn spawn(
    supervisor: &mut Supervisor,
    context: &Context,
    clients: Vec<WebhookClient>,
) -> Result<Option<DropGuard>, ServiceError> {
    if clients.is_empty() {
        return Ok(None);
    }
    let stop = CancellationToken::new();
    let hooks = context.config.webhooks.iter().zip(clients);
    let senders = hooks
        .map(|(hook, client)| Ok(WebhookSender::open(context, hook.name(), client)?.run(stop.clone(), publish::GRACE)))
        .collect::<Result<Vec<_>, ServiceError>>()?;
    let health = health::run(context.clone(), context.open_store()?, stop.clone());
    supervisor.task(NAME, async move {
        try_join(try_join_all(senders), health).await?;
        Ok(())
    });
    Ok(Some(stop.drop_guard()))
}
