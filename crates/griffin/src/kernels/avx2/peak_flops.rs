//! The most products that AVX2 can make, from registers alone.

use std::arch::asm;
use std::arch::x86_64::*;

use crate::kernels::WeightFormat;

/// Makes products from registers; returns how many.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) fn peak_flops(format: WeightFormat, rounds: usize) -> usize {
    const SUMS: usize = 10;
    let a = _mm256_set1_epi8(3);
    let b = _mm256_set1_epi8(5);
    let mut sums = [_mm256_setzero_si256(); SUMS];
    // One step of one sum. The compiler must believe that sums are used and changed, and cannot compute a product beforehand.
    macro_rules! repeat {
        ($step:expr) => {
            for _ in 0..rounds {
                for sum in &mut sums {
                    let mut a = a;
                    // SAFETY: there is no instruction in it.
                    unsafe { asm!("/* {} {} */", inout(ymm_reg) *sum, inout(ymm_reg) a, options(nomem, nostack, preserves_flags)) };
                    *sum = $step(a, *sum);
                }
            }
        };
    }
    let each = match format {
        WeightFormat::F32 => {
            let b = _mm256_castsi256_ps(b);
            repeat!(|a, sum| {
                let sum = _mm256_fmadd_ps(_mm256_castsi256_ps(a), b, _mm256_castsi256_ps(sum));
                _mm256_castps_si256(sum)
            });
            8
        }
        WeightFormat::Q8_0 => {
            let ones = _mm256_set1_epi16(1);
            repeat!(|a, sum| _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones)));
            32
        }
        WeightFormat::Q4K => {
            // Eight sums of 16 bits, then the run's scale, which makes them 32 bits.
            let mut totals = [_mm256_setzero_si256(); SUMS];
            for _ in 0..rounds / 8 {
                for total in &mut totals {
                    let mut sum = _mm256_setzero_si256();
                    for _ in 0..8 {
                        let mut a = a;
                        // SAFETY: there is no instruction in it.
                        unsafe {
                            asm!("/* {} {} */", inout(ymm_reg) sum, inout(ymm_reg) a, options(nomem, nostack, preserves_flags));
                        };
                        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, b));
                    }
                    *total = _mm256_add_epi32(*total, _mm256_madd_epi16(sum, b));
                }
            }
            std::hint::black_box(totals);
            32
        }
    };
    std::hint::black_box(sums);
    rounds * SUMS * each
}
