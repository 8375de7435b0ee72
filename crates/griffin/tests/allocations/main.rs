//! Writing allocates nothing per token: neither the model nor the choice of the next. In a binary of its own, since every
//! allocation of the process is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use griffin::Quantization;
use griffin::{BlockType, Config, Model, Options, Sampler, Sampling};

struct CountingAllocator;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every method passes its arguments on to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Places in a block of the queue through which rayon hands a call to its pool: it takes a new block when one is used up, 1.5 KB
/// for so many tokens, and gives the old one back.
const QUEUE_BLOCK: usize = 63;

/// Tokens that are written before anything is counted, and while it is: both more than the window.
const TOKENS: usize = 2 * QUEUE_BLOCK;

/// Six layers, wide enough for blocks of 256, with attention twice.
fn config() -> Config {
    Config {
        vocab_size: 1000,
        hidden_size: 256,
        lru_width: 256,
        mlp_expanded_width: 512,
        num_attention_heads: 4,
        head_dim: 64,
        rotary_dim: 32,
        attention_window_size: 40,
        block_types: [BlockType::Recurrent, BlockType::Recurrent, BlockType::Attention].repeat(2),
        ..Config::preset("2b").unwrap()
    }
}

/// Allocations while [`TOKENS`] tokens are written, at the least of some times: a thread of the model's that had nothing to do so
/// far makes room for itself when it is first needed, which on a busy machine may be late.
fn allocations(weights: Quantization, threads: usize) -> usize {
    let model = Model::random(config(), &Options { weights, threads, ..Options::default() }, 1).unwrap();
    let mut state = model.state();
    let mut sampler = Sampler::new(Sampling { temperature: 0.8, top_k: 40, top_p: 0.9, seed: 1 });
    let mut logits = model.read(&[2, 5, 7], &mut state).unwrap();
    let mut write = || {
        for _ in 0..TOKENS {
            model.step_into(sampler.choose(&logits), &mut state, &mut logits).unwrap();
        }
    };
    write();
    let counts = (0..5).map(|_| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        write();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    });
    counts.min().unwrap_or_default()
}

#[test]
fn writing_allocates_nothing_per_token() {
    for weights in [Quantization::F32, Quantization::Q8_0, Quantization::Q4K] {
        for threads in [1, 2] {
            let count = allocations(weights, threads);
            assert!(count <= TOKENS / QUEUE_BLOCK, "{weights:?}, {threads} threads: {count} for {TOKENS} tokens");
        }
    }
}
