//! The ways in which the listener asks less and earlier. The daemon uses all of them; `hearth bench day --without` leaves some out, to show
//! what each brings.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AskingStep {
    /// Tokens with which several questions begin are read once.
    SharedStarts,
    /// The last layer is computed for the last token of a question alone, and of the head only the words for yes and no.
    LastToken,
    /// Utterances that say nothing raise no question.
    Fillers,
    /// A rule is asked only where the watcher suspects something.
    Gate,
    /// Words that are enough for an alert are searched before anything else is read, where reading is slow.
    WordsFirst,
    /// Where asking all rules would take long, critical ones are asked each time and others in turn.
    Priority,
}

impl AskingStep {
    pub(crate) const ALL: [Self; 6] =
        [Self::SharedStarts, Self::LastToken, Self::Fillers, Self::Gate, Self::WordsFirst, Self::Priority];
}

/// Which of them are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AskingSteps([bool; AskingStep::ALL.len()]);

impl Default for AskingSteps {
    fn default() -> Self {
        Self([true; AskingStep::ALL.len()])
    }
}

impl AskingSteps {
    pub(super) fn uses(self, step: AskingStep) -> bool {
        self.0[step as usize]
    }

    /// All but these.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn without(steps: &[AskingStep]) -> Self {
        let mut all = Self::default();
        steps.iter().for_each(|step| all.0[*step as usize] = false);
        all
    }
}
