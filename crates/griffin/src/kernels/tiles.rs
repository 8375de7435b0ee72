//! How the vectors of a pass are divided into tiles.
#![cfg(target_arch = "x86_64")]

/// Calls `$tile::<N>(…)` for the vectors of `$sums`, N at a time: the first of the numbers given of which as many are left.
/// `$token` is the first vector of a tile, `$rest` the sums from there on. The last number must be 1. `$before` is evaluated
/// before each tile.
macro_rules! for_each_tile {
    ($sums:ident, |$token:ident, $rest:ident| $tile:ident::<$($n:literal)|+>$arguments:tt $(, $before:expr)?) => {
        let mut $token = 0;
        while $token < $sums.len() {
            $($before;)?
            let $rest = &mut $sums[$token..];
            let left = $rest.len();
            $token += loop {
                $(if left >= $n {
                    break $tile::<$n> $arguments;
                })+
            };
        }
    };
}

pub(super) use for_each_tile;
