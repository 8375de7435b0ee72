//! Whisper, by whisper.cpp.
//!
//! Owns the model and its one decoder state. Refuses to decide what to believe. Invariant: decoding leaves nothing behind:
//! the same samples with the same prompt give the same text, however much was decoded before.

use std::path::{Path, PathBuf};

use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState};

use super::{Cause, Error, model_file};
use crate::clock::SAMPLE_RATE;
use crate::{config, models};

/// whisper.cpp returns nothing for less than 100 ms and reads out of bounds below 201 samples; a second is safe and free,
/// since an encode always costs 30 s of sound.
const MIN_SAMPLES: usize = SAMPLE_RATE as usize;

/// More threads than this make a small model slower.
const MAX_THREADS: usize = 4;

/// Cores left to the rest of the house. whisper.cpp's threads spin while they wait for each other: with every core of a
/// busy machine they took 145 s of processor time for what one thread did in 31 s (two cores, six other processes).
const SPARE_CORES: usize = 1;

/// One stretch of text within the samples that were decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Seconds from the first sample, as Whisper tells them: good to a few tenths, and sometimes past the end.
    pub start_s: f64,
    pub end_s: f64,
    pub text: String,
    /// Mean natural logarithm of the probabilities of its tokens.
    pub mean_logprob: f32,
    /// The probability that nobody spoke, 0 … 1.
    pub no_speech: f32,
    pub words: Vec<Word>,
    /// Tokens written for it.
    pub tokens: usize,
}

/// A word with the times that Whisper gives it: good to a few tenths of a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// As it was written, with its punctuation.
    pub text: String,
    /// Seconds from the first sample that was decoded.
    pub start_s: f64,
    pub end_s: f64,
    /// The least probability of its tokens, 0 … 1.
    pub probability: f32,
}

/// A recogniser.
pub struct Whisper {
    path: PathBuf,
    context: WhisperContext,
    state: WhisperState,
    /// Built once: whisper-rs leaks a little memory for every language that is set.
    params: FullParams<'static, 'static>,
    hot_words: String,
    padded: Vec<f32>,
}

impl Whisper {
    /// Loads a model in ggml form, after it was verified and walked through.
    pub fn load(path: &Path, settings: &config::Asr) -> Result<Self, Error> {
        whisper_rs::install_logging_hooks();
        model_file::check(path)?;
        models::verify(path).map_err(|source| Error::Load { path: path.into(), source: source.into() })?;
        let failed = |source: whisper_rs::WhisperError| Error::Load { path: path.into(), source: source.into() };
        let context = WhisperContext::new_with_params(path, WhisperContextParameters::default()).map_err(failed)?;
        let language = language(path, &settings.language, context.is_multilingual())?;
        let state = context.create_state().map_err(failed)?;
        let hot_words = settings.hot_words.join(", ");
        let whisper = Self {
            path: path.into(),
            context,
            state,
            params: params(language, settings.threads),
            hot_words,
            padded: Vec::new(),
        };
        whisper.tokens("").map_err(|source| Error::HotWords { source })?;
        Ok(whisper)
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Decodes up to 30 s of mono sound at 16 kHz. `prompt` is what was said just before; the hot words stand before it.
    pub fn decode(&mut self, samples: &[f32], prompt: &str) -> Result<Vec<Piece>, Error> {
        let seconds = samples.len() as f64 / f64::from(SAMPLE_RATE);
        let failed = |source: Cause| Error::Decode { seconds, source };
        let tokens = self.tokens(prompt).map_err(failed)?;
        let mut params = self.params.clone();
        params.set_tokens(&tokens);
        let samples = if samples.len() < MIN_SAMPLES {
            self.padded.clear();
            self.padded.extend_from_slice(samples);
            self.padded.resize(MIN_SAMPLES, 0.0);
            &self.padded
        } else {
            samples
        };
        self.state.full(params, samples).map_err(|source| failed(source.into()))?;
        let end_of_text = self.context.token_eot();
        let pieces = self.state.as_iter().map(|segment| piece(&segment, end_of_text));
        Ok(pieces.filter(|piece| !piece.text.is_empty()).collect())
    }

    fn tokens(&self, prompt: &str) -> Result<Vec<i32>, Cause> {
        let text = [self.hot_words.as_str(), prompt].join(" ");
        let text = text.trim();
        // A token is at least a byte. Too small a bound is no error in whisper-rs 0.16 but a vector of a wild length.
        let tokens = self.context.tokenize(text, text.len() + 1)?;
        Ok(tokens)
    }
}

/// Greedy, at one temperature, free to write sounds. Measured with tiny.en: a beam of 5 makes 12.4 % errors instead of 12.8 %
/// (37 recordings, 7.5 min) in 1.8 times the time; second tries at higher temperatures mend nothing there, and make 150
/// words instead of 27 of 26 minutes of noise. Where Whisper may write `[Music]`, which the guard refuses, the 27 become 1.
fn params(language: &'static str, threads: usize) -> FullParams<'static, 'static> {
    let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    params.set_language(Some(language));
    params.set_n_threads(thread_count(threads) as i32);
    params.set_no_context(true);
    params.set_temperature_inc(0.0);
    params.set_suppress_blank(true);
    params.set_suppress_nst(false);
    params.set_token_timestamps(true);
    params.set_print_special(false);
    params.set_print_progress(false);
    params.set_print_realtime(false);
    params.set_print_timestamps(false);
    params
}

/// 0: one less than the machine has cores, at most [`MAX_THREADS`].
fn thread_count(wanted: usize) -> usize {
    match wanted {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            cores.saturating_sub(SPARE_CORES).clamp(1, MAX_THREADS)
        }
        wanted => wanted,
    }
}

fn language(path: &Path, wanted: &str, multilingual: bool) -> Result<&'static str, Error> {
    let wanted = wanted.to_ascii_lowercase();
    if wanted == "auto" {
        return Ok(if multilingual { "auto" } else { "en" });
    }
    // whisper.cpp takes full names, too; they would make "english" and "en" two settings. A zero byte would panic.
    let id = (!wanted.contains('\0')).then(|| whisper_rs::get_lang_id(&wanted)).flatten();
    let known = id.and_then(whisper_rs::get_lang_str).filter(|code| *code == wanted);
    let known = known.ok_or(Error::UnknownLanguage { language: wanted })?;
    if multilingual || known == "en" {
        return Ok(known);
    }
    Err(Error::EnglishOnly { path: path.into(), language: known.into() })
}

fn piece(segment: &whisper_rs::WhisperSegment, end_of_text: i32) -> Piece {
    let tokens = (0..segment.n_tokens()).filter_map(|index| segment.get_token(index));
    let text_tokens: Vec<_> = tokens.filter(|token| token.token_id() < end_of_text).collect();
    let (sum, count) = text_tokens.iter().fold((0.0, 0), |(sum, count), t| (sum + t.token_data().plog, count + 1));
    Piece {
        start_s: segment.start_timestamp() as f64 / 100.0,
        end_s: segment.end_timestamp() as f64 / 100.0,
        // The bytes of a character may be split over tokens, and a cut may fall between them.
        text: segment.to_str_lossy().map(|text| text.trim().to_owned()).unwrap_or_default(),
        mean_logprob: if count == 0 { f32::NEG_INFINITY } else { sum / count as f32 },
        no_speech: segment.no_speech_probability(),
        words: words(&text_tokens),
        tokens: segment.n_tokens() as usize,
    }
}

/// Joins tokens to words: a word begins with the token that begins with a space.
fn words(tokens: &[whisper_rs::WhisperToken]) -> Vec<Word> {
    let begins = |token: &whisper_rs::WhisperToken| token.to_bytes().is_ok_and(|bytes| bytes.starts_with(b" "));
    let word = |tokens: &[whisper_rs::WhisperToken]| {
        let data: Vec<_> = tokens.iter().map(|token| token.token_data()).collect();
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_bytes().unwrap_or_default()).copied().collect();
        Word {
            text: String::from_utf8_lossy(&bytes).trim().to_owned(),
            start_s: data.first().map_or(0.0, |token| token.t0 as f64 / 100.0),
            end_s: data.last().map_or(0.0, |token| token.t1 as f64 / 100.0),
            probability: data.iter().map(|token| token.p).fold(1.0, f32::min),
        }
    };
    tokens.chunk_by(|_, next| !begins(next)).map(word).filter(|word| !word.text.is_empty()).collect()
}
