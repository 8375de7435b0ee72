//! `request/reset_rule`: what a rule has learned from people's answers to its alerts no longer counts. The answers stay in the store.

use std::collections::BTreeSet;

use serde::Serialize;
use tracing::info;

use super::{Body, CommandError, Definition, Done, ListenerPart};
use crate::mqtt::discovery::{Entity, Needs};
use crate::mqtt::topics::Topics;

/// A rule (none: every rule) has its configured threshold again.
#[derive(Clone, Debug, PartialEq)]
pub struct ResetRule {
    pub rule: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResetRuleReply {
    /// The rules of which there were answers that counted.
    pub(crate) rules: BTreeSet<String>,
}

impl Definition for ResetRule {
    const PATH: &'static str = "request/reset_rule";
    const DOCUMENTATION: &'static str = "a rule, or nothing for all of them: its threshold is the configured one again, and what was said of its \
        alerts until now no longer counts; the answer lists the `rules` that this changed";
    type Reply = ResetRuleReply;

    fn parse(body: &Body) -> Result<Self, String> {
        Ok(Self { rule: body.alert()?.name().map(String::from) })
    }

    fn entities(topics: &Topics) -> Vec<Entity> {
        let topic = topics.command(Self::PATH);
        let mut button =
            Entity::button("reset_rule", "Reset learned thresholds", "mdi:restore", topic, "PRESS", Needs::Listener);
        button.config["ent_cat"] = "config".into();
        vec![button]
    }
}

impl ResetRule {
    pub(super) fn run<L: ListenerPart>(
        &self,
        listener: &mut L,
    ) -> Result<Done<ResetRuleReply>, CommandError<L::Error>> {
        let known = |name: &str| listener.config().rules.iter().any(|rule| rule.name.as_str() == name);
        if let Some(rule) = self.rule.as_deref().filter(|rule| !known(rule)) {
            return Err(CommandError::Refused(format!("there is no rule \"{rule}\"")));
        }
        let rules = listener.with_store(|store| store.reset_feedback(self.rule.as_deref()))?;
        listener.learn()?;
        info!(kind = "reset_rule", ?rules, "what these rules had learned no longer counts");
        Ok(Done::new(ResetRuleReply { rules }))
    }
}
