//! What measuring the surprise costs: the same talk is read with it and without it, in turns.

use std::io::Write;

use anyhow::ensure;

use crate::listener::ListenerError;
use crate::listener::reader::Reader;
use crate::process::cpu_seconds;

/// So many times each way reads the same block of so many utterances.
const BLOCKS: usize = 16;
const BLOCK: usize = 200;

/// How many utterances are measured.
#[derive(Clone, Copy)]
enum Measuring {
    None,
    /// As many as the daemon measures.
    Share,
    All,
}

/// A way to read, and the seconds of a core that each block took.
struct WayToRead {
    measuring: Measuring,
    seconds: Vec<f64>,
}

impl WayToRead {
    /// Reads a block from the state of `reader` on.
    fn read(&mut self, reader: &Reader, block: &[&str]) -> Result<Reader, ListenerError> {
        let mut copy = reader.new_stream();
        copy.restore(reader.state().fork());
        match self.measuring {
            Measuring::None => copy.measure_none(),
            Measuring::Share => copy.measure_all(false),
            Measuring::All => copy.measure_all(true),
        }
        let began = cpu_seconds();
        block.iter().try_for_each(|text| copy.read(text))?;
        self.seconds.push(cpu_seconds() - began);
        Ok(copy)
    }
}

/// Reads the talk and prints the figures.
///
/// # Errors
/// There is too little talk, or the model fails.
pub(super) fn run(mut reader: Reader, talk: &[&str], out: &mut impl Write) -> anyhow::Result<()> {
    ensure!(talk.len() >= BLOCK, "the talk has {} lines, and {BLOCK} are read at a time", talk.len());
    let mut ways = [Measuring::None, Measuring::Share, Measuring::All]
        .map(|measuring| WayToRead { measuring, seconds: Vec::new() });
    // The first block only warms up.
    for block in 0..=BLOCKS {
        let lines: Vec<&str> = talk.iter().cycle().skip(block * BLOCK).take(BLOCK).copied().collect();
        let mut next = None;
        for turn in 0..ways.len() {
            // Each is the first, the second and the last in turn.
            next = Some(ways[(block + turn) % ways.len()].read(&reader, &lines)?);
        }
        reader = next.expect("there are three ways");
        if block == 0 {
            ways.iter_mut().for_each(|way| way.seconds.clear());
        }
    }
    let [none, share, all] = &ways;
    writeln!(
        out,
        "{BLOCKS} blocks of {BLOCK} utterances, seconds of a core, and each block against the one without measuring"
    )?;
    for (name, way) in [("none measured", none), ("as the daemon", share), ("all measured", all)] {
        let mut ratios: Vec<f64> = way.seconds.iter().zip(&none.seconds).map(|(one, none)| one / none).collect();
        ratios.sort_by(f64::total_cmp);
        let (sum, at) = (way.seconds.iter().sum::<f64>(), |share: f64| ratios[((BLOCKS - 1) as f64 * share) as usize]);
        let total = sum / none.seconds.iter().sum::<f64>();
        writeln!(
            out,
            "{name:<14} {sum:>8.2} s, × {total:.3} in all; quarters {:.3}, {:.3}, {:.3}",
            at(0.25),
            at(0.5),
            at(0.75)
        )?;
    }
    Ok(())
}
