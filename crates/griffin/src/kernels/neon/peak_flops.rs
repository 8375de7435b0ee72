//! The most products that NEON can make, from registers alone. In assembly, since LLVM would load operands in every round, or make
//! shifts of multiplications with constants.

use std::arch::asm;

/// Products of 8 bits with sums of 32; returns how many.
#[target_feature(enable = "neon,dotprod")]
#[rustfmt::skip]
pub(super) fn sdot(rounds: usize) -> usize {
    // SAFETY: nothing but these registers is read or written.
    unsafe {
        asm!(
            "cbz {n}, 3f",
            "2:",
            "sdot v0.4s, v16.16b, v17.16b", "sdot v1.4s, v16.16b, v17.16b", "sdot v2.4s, v16.16b, v17.16b", "sdot v3.4s, v16.16b, v17.16b",
            "sdot v4.4s, v16.16b, v17.16b", "sdot v5.4s, v16.16b, v17.16b", "sdot v6.4s, v16.16b, v17.16b", "sdot v7.4s, v16.16b, v17.16b",
            "subs {n}, {n}, #1", "b.ne 2b",
            "3:",
            n = inout(reg) rounds => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _,
            options(nomem, nostack),
        );
    }
    rounds * 8 * 16
}

/// Products of 8 bits with sums of 16, without what makes them 32; returns how many.
#[target_feature(enable = "neon")]
#[rustfmt::skip]
pub(super) fn smlal(rounds: usize) -> usize {
    // SAFETY: nothing but these registers is read or written.
    unsafe {
        asm!(
            "cbz {n}, 3f",
            "2:",
            "smlal v0.8h, v16.8b, v17.8b", "smlal2 v1.8h, v16.16b, v17.16b", "smlal v2.8h, v16.8b, v17.8b", "smlal2 v3.8h, v16.16b, v17.16b",
            "smlal v4.8h, v16.8b, v17.8b", "smlal2 v5.8h, v16.16b, v17.16b", "smlal v6.8h, v16.8b, v17.8b", "smlal2 v7.8h, v16.16b, v17.16b",
            "subs {n}, {n}, #1", "b.ne 2b",
            "3:",
            n = inout(reg) rounds => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _,
            options(nomem, nostack),
        );
    }
    rounds * 8 * 8
}
