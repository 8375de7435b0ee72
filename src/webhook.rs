//! What is posted to webhooks: the body, its signature, the request, and what the answer means. `docs/webhooks.md` describes it for whoever
//! writes a receiver.

mod client;
mod signature;
mod verdict;

pub(crate) use client::{WebhookClient, WebhookError};
pub(crate) use verdict::PostVerdict;
