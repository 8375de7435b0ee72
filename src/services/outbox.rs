//! What every service that empties the outbox needs: it is read in order, and a row is deleted only after it was delivered. One reads what
//! waits for the broker ([`super::publish`]), others what waits for a webhook ([`super::webhooks`]).

pub(crate) mod acknowledged_rows;
pub(crate) mod from_memory;
pub(crate) mod guarded_store;
pub(crate) mod row_queue;
pub(crate) mod unstored_messages;
