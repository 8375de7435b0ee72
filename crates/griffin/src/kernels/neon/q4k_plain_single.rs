//! Q4K without `sdot` and a single vector: quants are unpacked between the products, and never stored.

use std::arch::aarch64::*;
use std::arch::asm;

use super::q4k_plain::Factors;
use super::registers::add;
use crate::kernels::GroupSums;
use crate::kernels::activations::Q8SuperBlock;
use crate::kernels::weights::{QUANTS, SUB_BLOCK_BYTES, SUPER_BLOCK_BYTES};

/// Adds the products of a block.
#[inline(never)]
#[target_feature(enable = "neon")]
pub(super) fn block_once(block: &[u8; SUPER_BLOCK_BYTES], factors: &Factors, x: &Q8SuperBlock, sums: &mut GroupSums) {
    let mut totals = [vdupq_n_s32(0); 4];
    let quants = block[QUANTS..].as_chunks::<SUB_BLOCK_BYTES>().0.iter();
    let scales = factors.scales.as_chunks::<2>().0.iter();
    for ((quants, scales), x) in quants.zip(scales).zip(x.quads.as_chunks::<16>().0) {
        let of_pair = pair_of_runs(quants, scales, x);
        for quarter in 0..4 {
            totals[quarter] = vaddq_s32(totals[quarter], of_pair[quarter]);
        }
    }
    for half in 0..2 {
        let minima = factors.minima(half, &x.sums);
        for quarter in 0..2 {
            let at = 2 * half + quarter;
            let total = vmulq_f32(vcvtq_f32_s32(totals[at]), factors.d[at]);
            let total = vfmsq_f32(total, vcvtq_f32_s32(minima[quarter]), factors.d_min[at]);
            add(sums, 4 * at, total, x.scale);
        }
    }
}

/// A quad of columns of two runs and sixteen rows times lane $lane of v16 and of v17.
#[rustfmt::skip]
macro_rules! quad {
    ($op:literal, $lane:literal) => {
        concat!(
            "dup v18.4s, v16.s[", $lane, "]\n", "dup v19.4s, v17.s[", $lane, "]\n",
            "ldp q20, q21, [{quants}], #32\n", "ldp q22, q23, [{quants}], #32\n",
            "and v24.16b, v20.16b, v31.16b\n", "ushr v20.16b, v20.16b, #4\n",
            $op, " v0.8h, v24.8b, v18.8b\n", $op, "2 v1.8h, v24.16b, v18.16b\n", $op, " v8.8h, v20.8b, v19.8b\n", $op, "2 v9.8h, v20.16b, v19.16b\n",
            "and v25.16b, v21.16b, v31.16b\n", "ushr v21.16b, v21.16b, #4\n",
            $op, " v2.8h, v25.8b, v18.8b\n", $op, "2 v3.8h, v25.16b, v18.16b\n", $op, " v10.8h, v21.8b, v19.8b\n", $op, "2 v11.8h, v21.16b, v19.16b\n",
            "and v24.16b, v22.16b, v31.16b\n", "ushr v22.16b, v22.16b, #4\n",
            $op, " v4.8h, v24.8b, v18.8b\n", $op, "2 v5.8h, v24.16b, v18.16b\n", $op, " v12.8h, v22.8b, v19.8b\n", $op, "2 v13.8h, v22.16b, v19.16b\n",
            "and v25.16b, v23.16b, v31.16b\n", "ushr v23.16b, v23.16b, #4\n",
            $op, " v6.8h, v25.8b, v18.8b\n", $op, "2 v7.8h, v25.16b, v18.16b\n", $op, " v14.8h, v23.8b, v19.8b\n", $op, "2 v15.8h, v23.16b, v19.16b\n",
        )
    };
}

/// Σ s · Σ q x over two runs, of sixteen rows.
#[inline]
#[target_feature(enable = "neon")]
#[rustfmt::skip]
fn pair_of_runs(quants: &[u8; SUB_BLOCK_BYTES], scales: &[[i16; 32]; 2], x: &[i32; 16]) -> [int32x4_t; 4] {
    let mut totals = [vdupq_n_s32(0); 4];
    let [t0, t1, t2, t3] = &mut totals;
    // SAFETY: 512 bytes of quants, 64 scales and 16 quads are read, which is all there are. Nothing is written but the registers named.
    unsafe {
        asm!(
            "movi v31.16b, #15",
            "ldr q16, [{x}]", "ldr q17, [{x}, #32]",
            quad!("smull", "0"), quad!("smlal", "1"), quad!("smlal", "2"), quad!("smlal", "3"),
            "ldr q16, [{x}, #16]", "ldr q17, [{x}, #48]",
            quad!("smlal", "0"), quad!("smlal", "1"), quad!("smlal", "2"), quad!("smlal", "3"),
            "ldp q16, q17, [{scales}]", "ldp q18, q19, [{scales}, #32]",
            "addp v0.8h, v0.8h, v1.8h", "addp v2.8h, v2.8h, v3.8h", "addp v4.8h, v4.8h, v5.8h", "addp v6.8h, v6.8h, v7.8h",
            "smull v20.4s, v0.4h, v16.4h", "smull2 v21.4s, v0.8h, v16.8h", "smull v22.4s, v2.4h, v17.4h", "smull2 v23.4s, v2.8h, v17.8h",
            "smull v24.4s, v4.4h, v18.4h", "smull2 v25.4s, v4.8h, v18.8h", "smull v26.4s, v6.4h, v19.4h", "smull2 v27.4s, v6.8h, v19.8h",
            "ldp q16, q17, [{scales}, #64]", "ldp q18, q19, [{scales}, #96]",
            "addp v8.8h, v8.8h, v9.8h", "addp v10.8h, v10.8h, v11.8h", "addp v12.8h, v12.8h, v13.8h", "addp v14.8h, v14.8h, v15.8h",
            "smlal v20.4s, v8.4h, v16.4h", "smlal2 v21.4s, v8.8h, v16.8h", "smlal v22.4s, v10.4h, v17.4h", "smlal2 v23.4s, v10.8h, v17.8h",
            "smlal v24.4s, v12.4h, v18.4h", "smlal2 v25.4s, v12.8h, v18.8h", "smlal v26.4s, v14.4h, v19.4h", "smlal2 v27.4s, v14.8h, v19.8h",
            "addp v20.4s, v20.4s, v21.4s", "addp v22.4s, v22.4s, v23.4s", "addp v24.4s, v24.4s, v25.4s", "addp v26.4s, v26.4s, v27.4s",
            quants = inout(reg) quants.as_ptr() => _, scales = in(reg) scales.as_ptr(), x = in(reg) x.as_ptr(),
            out("v20") *t0, out("v22") *t1, out("v24") *t2, out("v26") *t3,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v21") _, out("v23") _, out("v25") _, out("v27") _, out("v31") _,
            options(readonly, nostack, preserves_flags),
        );
    }
    totals
}
