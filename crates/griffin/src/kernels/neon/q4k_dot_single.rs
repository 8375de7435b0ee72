//! Q4K with `sdot` and a single vector: quants are unpacked between the products, and never stored.

use std::arch::aarch64::*;
use std::arch::asm;

use super::q4k_block;
use super::q4k_dot::{digits, minima, mins_by_row};
use super::registers::{add, halves, part};
use crate::kernels::GroupSums;
use crate::kernels::activations::Q8SuperBlock;
use crate::kernels::weights::{D, D_MIN, QUANTS, SUPER_BLOCK_BYTES};

/// Adds the products of a block.
#[inline(never)]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn block_once(block: &[u8; SUPER_BLOCK_BYTES], x: &Q8SuperBlock, sums: &mut GroupSums) {
    let scales = q4k_block::scales(block);
    // Even and odd runs have running sums of their own, so that steps go over two runs.
    let mut steps = [[0; 16]; 8];
    for (run, steps) in steps.iter_mut().enumerate() {
        let next = if run < 6 { scales[run + 2] } else { vdupq_n_u8(0) };
        // SAFETY: 16 bytes are written to a reference to 16 bytes.
        unsafe { vst1q_s8(steps.as_mut_ptr(), vreinterpretq_s8_u8(vsubq_u8(scales[run], next))) }
    }
    let totals = pairs_of_runs(block, &steps, x);
    let mins = mins_by_row(block);
    let of_runs = digits(&x.sums);
    let [d, d_min] = [halves(part(block, D)), halves(part(block, D_MIN))];
    for quarter in 0..4 {
        let total = vmulq_f32(vcvtq_f32_s32(totals[quarter]), d[quarter]);
        let total = vfmsq_f32(total, minima([mins[0][quarter], mins[1][quarter]], of_runs), d_min[quarter]);
        add(sums, 4 * quarter, total, x.scale);
    }
}

/// A quad of columns of two runs and sixteen rows times lane $lane of v12 and of v13.
#[rustfmt::skip]
macro_rules! quad {
    ($lane:literal) => {
        concat!(
            "ldp q14, q15, [{quants}], #32\n", "ldp q16, q17, [{quants}], #32\n",
            "and v18.16b, v14.16b, v30.16b\n", "ushr v14.16b, v14.16b, #4\n", "and v19.16b, v15.16b, v30.16b\n", "ushr v15.16b, v15.16b, #4\n",
            "and v20.16b, v16.16b, v30.16b\n", "ushr v16.16b, v16.16b, #4\n", "and v21.16b, v17.16b, v30.16b\n", "ushr v17.16b, v17.16b, #4\n",
            "sdot v0.4s, v18.16b, v12.4b[", $lane, "]\n", "sdot v4.4s, v14.16b, v13.4b[", $lane, "]\n",
            "sdot v1.4s, v19.16b, v12.4b[", $lane, "]\n", "sdot v5.4s, v15.16b, v13.4b[", $lane, "]\n",
            "sdot v2.4s, v20.16b, v12.4b[", $lane, "]\n", "sdot v6.4s, v16.16b, v13.4b[", $lane, "]\n",
            "sdot v3.4s, v21.16b, v12.4b[", $lane, "]\n", "sdot v7.4s, v17.16b, v13.4b[", $lane, "]\n",
        )
    };
}

/// Adds a run's sums v$a to v$d, times the steps at $at.
#[rustfmt::skip]
macro_rules! scaled {
    ($at:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ldr q24, [{steps}, #", $at, "]\n", "sxtl v25.8h, v24.8b\n", "sxtl2 v26.8h, v24.16b\n",
            "sxtl v22.4s, v25.4h\n", "sxtl2 v23.4s, v25.8h\n", "sxtl v24.4s, v26.4h\n", "sxtl2 v25.4s, v26.8h\n",
            "mla v8.4s, v", $a, ".4s, v22.4s\n", "mla v9.4s, v", $b, ".4s, v23.4s\n",
            "mla v10.4s, v", $c, ".4s, v24.4s\n", "mla v11.4s, v", $d, ".4s, v25.4s\n",
        )
    };
}

/// Σ s · Σ q x over the runs, of sixteen rows. In assembly, since LLVM unpacks everything first, and stores it.
#[inline]
#[target_feature(enable = "neon,dotprod")]
#[rustfmt::skip]
fn pairs_of_runs(block: &[u8; SUPER_BLOCK_BYTES], steps: &[[i8; 16]; 8], x: &Q8SuperBlock) -> [int32x4_t; 4] {
    let quants = &block[QUANTS..];
    let mut totals = [vdupq_n_s32(0); 4];
    let [t0, t1, t2, t3] = &mut totals;
    // SAFETY: four times 512 bytes of quants, 32 of steps and 16 quads are read, which is all there are. Nothing is written but the
    // registers named.
    unsafe {
        asm!(
            "movi v0.2d, #0", "movi v1.2d, #0", "movi v2.2d, #0", "movi v3.2d, #0",
            "movi v4.2d, #0", "movi v5.2d, #0", "movi v6.2d, #0", "movi v7.2d, #0", "movi v30.16b, #15",
            "2:",
            "ldr q12, [{x}]", "ldr q13, [{x}, #32]",
            quad!("0"), quad!("1"), quad!("2"), quad!("3"),
            "ldr q12, [{x}, #16]", "ldr q13, [{x}, #48]", "add {x}, {x}, #64",
            quad!("0"), quad!("1"), quad!("2"), quad!("3"),
            scaled!("0", "0", "1", "2", "3"), scaled!("16", "4", "5", "6", "7"),
            "add {steps}, {steps}, #32", "subs {pairs:w}, {pairs:w}, #1",
            "b.ne 2b",
            quants = inout(reg) quants.as_ptr() => _, steps = inout(reg) steps.as_ptr() => _, pairs = inout(reg) 4 => _,
            x = inout(reg) x.quads.as_ptr() => _,
            inout("v8") *t0, inout("v9") *t1, inout("v10") *t2, inout("v11") *t3,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v30") _,
            options(readonly, nostack),
        );
    }
    totals
}
