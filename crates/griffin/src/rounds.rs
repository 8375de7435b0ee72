//! How the tokens of several streams are divided into passes through the layers: each stream gets an equal share of a pass.

use crate::{CHUNK, State};

/// The part of a stream that goes through the layers in one pass with parts of the others.
pub(crate) struct Round<'s> {
    pub(crate) stream: usize,
    pub(crate) state: &'s mut State,
    pub(crate) tokens: &'s [u32],
    /// It is the last of its stream.
    pub(crate) ends: bool,
}

/// So many tokens of each of some streams go through the layers together.
fn share(streams: usize) -> usize {
    (CHUNK / streams.max(1)).max(1)
}

/// Where each pass begins in the streams.
pub(crate) fn rounds(streams: &[(&mut State, &[u32])]) -> impl Iterator<Item = usize> + use<> {
    let longest = streams.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or(0);
    (0..longest).step_by(share(streams.len()))
}

impl<'s> Round<'s> {
    /// The parts that begin at `start`, of the streams that are as long.
    pub(crate) fn of(streams: &'s mut [(&mut State, &[u32])], start: usize) -> impl Iterator<Item = Self> {
        let share = share(streams.len());
        streams.iter_mut().enumerate().filter_map(move |(stream, (state, tokens))| {
            let end = tokens.len().min(start + share);
            let part = tokens.get(start..end).filter(|part| !part.is_empty())?;
            Some(Self { stream, state: &mut **state, tokens: part, ends: end == tokens.len() })
        })
    }
}
