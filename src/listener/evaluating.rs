//! What the listener makes of what it has read: the rules are asked, and digests become due.
//!
//! Each step comes in two forms: one that writes every text at once, for recordings and tests, and one that only begins them.

use jiff::Timestamp;

use super::asking_steps::AskingStep;
use super::writing::RequestedDigest;
use super::{Listener, ListenerError, ListenerOutcome, priority};
use crate::event::{Digest, Utterance};

impl Listener {
    /// Evaluates every rule on what was read since the last call, then makes a digest if one is due. After a backlog, one
    /// call for all of it is enough.
    ///
    /// # Errors
    /// As [`Listener::hear`].
    pub fn consider(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        let mut outcome = self.evaluate(now, false)?;
        self.write_out(&mut outcome)?;
        Ok(outcome)
    }

    /// As [`Listener::consider`], but the sentences of alerts and the digest are only begun: see [`super::Listeners::write`]. When
    /// utterances have waited, not every rule may be asked: see [`super::priority`].
    pub(crate) fn evaluate(&mut self, now: Timestamp, waited: bool) -> Result<ListenerOutcome, ListenerError> {
        let mut outcome = ListenerOutcome::default();
        let said = std::mem::take(&mut self.unasked);
        if !said.is_empty() {
            let scores = self.watched.take().zip(self.watcher.as_deref());
            let steps = self.reader.steps;
            let gate = scores.filter(|_| steps.uses(AskingStep::Gate));
            let wanted: Vec<bool> = self.rules.iter_mut().map(|monitor| monitor.asks(gate)).collect();
            let token = self.reader.pace.token_time().filter(|_| waited && steps.uses(AskingStep::Priority));
            let asks = priority::chosen(&self.rules, &wanted, token);
            let asking = self.rules.iter().zip(&asks).filter(|(_, asks)| **asks);
            let questions: Vec<_> = asking.filter_map(|(monitor, _)| monitor.question.as_ref()).collect();
            let mut odds = self.reader.log_odds(&self.yes_no, &questions)?.into_iter();
            let asked = asks.iter().map(|asks| asks.then(|| odds.next()).flatten()).collect();
            for (monitor, (asked, wanted)) in self.rules.iter_mut().zip(asks.iter().zip(wanted)) {
                monitor.note_asked(*asked, wanted);
            }
            let seen = self.weigh(asked, scores, &said);
            let mut unexplained = Vec::new();
            for (monitor, seen) in self.rules.iter_mut().zip(seen) {
                unexplained.extend(monitor.evaluate(seen, &said, now, &mut outcome));
            }
            unexplained.into_iter().try_for_each(|alert| self.begin_sentence(alert))?;
        }
        self.pass(now, &mut outcome)?;
        Ok(outcome.in_room(self.room.as_deref()))
    }

    /// Looks at an utterance before it is read: words that are enough for an alert raise it at once.
    pub(crate) fn spot(&mut self, utterance: &Utterance) -> ListenerOutcome {
        let (mut outcome, quote) = (ListenerOutcome::default(), super::quote(utterance));
        for monitor in &mut self.rules {
            if monitor.spot(&utterance.text, &quote, utterance.end, &mut outcome) {
                self.spotted.insert(utterance.id);
            }
        }
        outcome.in_room(self.room.as_deref())
    }

    /// Time has passed and nothing was said: a conversation may have ended, and alerts may end. No question is asked.
    ///
    /// # Errors
    /// As [`Listener::hear`].
    pub fn tick(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        let mut outcome = self.pass_time(now)?;
        self.write_out(&mut outcome)?;
        Ok(outcome)
    }

    /// As [`Listener::tick`], but the digest is only begun: see [`super::Listeners::write`].
    pub(crate) fn pass_time(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        let mut outcome = ListenerOutcome::default();
        self.pass(now, &mut outcome)?;
        Ok(outcome.in_room(self.room.as_deref()))
    }

    fn pass(&mut self, now: Timestamp, outcome: &mut ListenerOutcome) -> Result<(), ListenerError> {
        self.now = Some(now);
        for monitor in &mut self.rules {
            if let Some(change) = monitor.watch.tick(&monitor.policy, now) {
                outcome.alerts.push(monitor.alert(change, None, None, now));
            }
        }
        match self.schedule.due(&self.pending, now) {
            Some(reason) => self.begin_digest(reason, now),
            None => Ok(()),
        }
    }

    /// The stream has ended: evaluates the rules on the rest, and makes a last digest if enough was said.
    ///
    /// # Errors
    /// As [`Listener::hear`].
    pub fn finish(&mut self, now: Timestamp) -> Result<ListenerOutcome, ListenerError> {
        let mut outcome = self.consider(now)?;
        self.begin_closing_digest(now)?;
        self.write_out(&mut outcome)?;
        Ok(outcome)
    }

    /// Begins the digest that ends the stream, if enough was said.
    pub(crate) fn begin_closing_digest(&mut self, now: Timestamp) -> Result<(), ListenerError> {
        match self.schedule.closing(&self.pending) {
            Some(reason) => self.begin_digest(reason, now),
            None => Ok(()),
        }
    }

    /// A digest now, because somebody asked, however little was said.
    ///
    /// # Errors
    /// As [`Listener::hear`].
    pub fn summarize(&mut self, now: Timestamp) -> Result<Digest, ListenerError> {
        match self.begin_requested(now)? {
            RequestedDigest::Made(digest) => Ok(digest),
            RequestedDigest::Begun(mut digest) => {
                while digest.draft.advance()? {}
                Ok(self.finish_digest(*digest))
            }
        }
    }
}

#[cfg(test)]
mod tests;
