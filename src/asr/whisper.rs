//! Whisper, by whisper.cpp.
//!
//! Owns the model and its one decoder state. Refuses to decide what to believe. Invariant: decoding leaves nothing behind:
//! the same samples give the same text, however much was decoded before.

use std::path::{Path, PathBuf};

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState, WhisperToken, WhisperTokenId,
};

use super::language::LanguageCode;
use super::{AsrError, Word, ggml_file};
use crate::clock::SAMPLE_RATE;
use crate::{config, models};

/// whisper.cpp returns nothing for less than 100 ms and reads out of bounds below 201 samples; a second is safe and free,
/// since more than that is encoded in any case.
const MIN_SAMPLES: usize = SAMPLE_RATE as usize;

/// The encoder turns so much sound into one place of the decoder's view, which has so many for 30 s.
const PLACE_SAMPLES: usize = SAMPLE_RATE as usize / 50;
const PLACES: usize = 1500;

/// Whisper was trained on 30 s, and what is not sound is silence. It need not be as much: with so many places behind the sound, and
/// at least so many in all, it writes nearly what it writes of 30 s, in a third of the time. Measured with tiny.en, errors with 30 s
/// and with this. Chosen on LJSpeech (21 recordings): 3.2 and 2.7 %; with 128 places behind the sound it begins to say things twice
/// (5.3 %), with 32 it does little else. Then tried on LibriSpeech other (70) 14.4 and 13.6 %, meetings (11) 36.2 and 36.4 %,
/// prompts (20) 2.3 and 2.0 %, VCTK with noise (4, 49 words) 26.5 and 34.7 %.
const SILENT_PLACES: usize = 256;
const MIN_PLACES: usize = 384;

/// A language that is not known yet.
pub const AUTO: LanguageCode = "auto";

/// More threads than this make a small model slower.
const MAX_THREADS: usize = 4;

/// Cores left to the rest of the house. whisper.cpp's threads spin while they wait for each other: with every core of a
/// busy machine they took 145 s of processor time for what one thread did in 31 s (two cores, six other processes).
const SPARE_CORES: usize = 1;

/// One stretch of text within the samples that were decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct TextSegment {
    pub text: String,
    /// Mean natural logarithm of the probabilities of its tokens.
    pub mean_logprob: f32,
    /// The probability that nobody spoke, 0 … 1.
    pub no_speech: f32,
    pub words: Vec<Word>,
    /// Tokens written for it.
    pub tokens: usize,
}

/// A recogniser.
pub struct Whisper {
    path: PathBuf,
    context: WhisperContext,
    state: WhisperState,
    /// Built once for each language that was spoken: whisper-rs leaks a little memory for every one that is set.
    params: Vec<(LanguageCode, FullParams<'static, 'static>)>,
    /// The one that is spoken, or [`AUTO`]: then every pass detects_language it.
    language: LanguageCode,
    /// It is for others to say which one is spoken.
    detects_language: bool,
    threads: usize,
    /// The hot words. What was said just before is no part of it: with 200 characters of that and one decode a segment tiny.en makes
    /// 15.5 % errors instead of 15.3 (meetings 37.9 and 36.2, prompts 2.0 and 2.0, long readings 6.9 and 8.3).
    prompt: Vec<WhisperTokenId>,
    padded: Vec<f32>,
    /// 30 s are encoded whatever there is.
    full_window: bool,
}

impl Whisper {
    /// Loads a model in ggml form, after it was verified and walked through.
    pub fn load(path: &Path, settings: &config::AsrConfig) -> Result<Self, AsrError> {
        whisper_rs::install_logging_hooks();
        ggml_file::check(path)?;
        models::verify(path).map_err(|source| AsrError::Load { path: path.into(), source: source.into() })?;
        let failed = |source: whisper_rs::WhisperError| AsrError::Load { path: path.into(), source: source.into() };
        let context = WhisperContext::new_with_params(path, WhisperContextParameters::default()).map_err(failed)?;
        let language = language(path, &settings.language, context.is_multilingual())?;
        let threads = thread_count(settings.threads);
        let state = context.create_state().map_err(failed)?;
        let hot_words = settings.hot_words.join(", ");
        // A token is at least a byte. Too small a bound is no error in whisper-rs 0.16 but a vector of a wild length.
        let prompt = context.tokenize(&hot_words, hot_words.len() + 1);
        let prompt = prompt.map_err(|source| AsrError::HotWords { source: source.into() })?;
        Ok(Self {
            path: path.into(),
            context,
            state,
            params: vec![(language, params(language, threads))],
            language,
            detects_language: language == AUTO,
            threads,
            prompt,
            padded: Vec::new(),
            full_window: false,
        })
    }

    /// Encodes 30 s for every pass, as others do: to compare with.
    pub fn with_full_window(mut self) -> Self {
        self.full_window = true;
        self
    }

    /// How much sound is encoded, silence behind it with it, to decode so many samples.
    pub fn encoded_samples(&self, samples: usize) -> usize {
        let places = if self.full_window { PLACES } else { places(samples) };
        places * PLACE_SAMPLES
    }

    /// Which language is spoken is not said by the settings: see [`Whisper::detect`] and [`Whisper::speak`].
    pub fn detects_language(&self) -> bool {
        self.detects_language
    }

    /// The language of up to 30 s of sound, and how probable it is: for as much work as encoding it for a pass.
    pub fn detect_language(&mut self, samples: &[f32]) -> Result<(LanguageCode, f32), AsrError> {
        let failed = |source: whisper_rs::WhisperError| failure(samples, source.into());
        let padded = padded(&mut self.padded, samples);
        self.state.pcm_to_mel(padded, self.threads).map_err(failed)?;
        let (id, probabilities) = self.state.lang_detect(0, self.threads).map_err(failed)?;
        let code = whisper_rs::get_lang_str(id).unwrap_or(AUTO);
        Ok((code, probabilities.get(id as usize).copied().unwrap_or(0.0)))
    }

    /// From now on this language is spoken; [`AUTO`]: every pass detects_language it.
    pub fn set_language(&mut self, language: LanguageCode) {
        self.language = language;
        if !self.params.iter().any(|(known, _)| *known == language) {
            self.params.push((language, params(language, self.threads)));
        }
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Decodes up to 30 s of mono sound at 16 kHz.
    pub fn decode(&mut self, samples: &[f32]) -> Result<Vec<TextSegment>, AsrError> {
        let spoken = self.params.iter().find(|(language, _)| *language == self.language);
        let mut params = spoken.expect("whoever sets a language makes its params").1.clone();
        params.set_tokens(&self.prompt);
        params.set_audio_ctx((self.encoded_samples(samples.len()) / PLACE_SAMPLES) as i32);
        let padded = padded(&mut self.padded, samples);
        self.state.full(params, padded).map_err(|source| failure(samples, source.into()))?;
        let end_of_text = self.context.token_eot();
        let pieces = self.state.as_iter().map(|segment| piece(&segment, end_of_text));
        Ok(pieces.filter(|piece| !piece.text.is_empty()).collect())
    }
}

fn failure(samples: &[f32], source: Box<dyn std::error::Error + Send + Sync>) -> AsrError {
    AsrError::Decode { seconds: samples.len() as f64 / f64::from(SAMPLE_RATE), source }
}

/// The sound itself, or it and silence up to the least that whisper.cpp takes.
fn padded<'a>(space: &'a mut Vec<f32>, samples: &'a [f32]) -> &'a [f32] {
    if samples.len() >= MIN_SAMPLES {
        return samples;
    }
    space.clear();
    space.extend_from_slice(samples);
    space.resize(MIN_SAMPLES, 0.0);
    space
}

/// Places of the decoder's view for so many samples.
fn places(samples: usize) -> usize {
    (samples.div_ceil(PLACE_SAMPLES) + SILENT_PLACES).clamp(MIN_PLACES, PLACES)
}

/// Greedy, at one temperature, free to write sounds. Measured with tiny.en: a beam of 5 makes 12.4 % errors instead of 12.8 %
/// (37 recordings, 7.5 min) in 1.8 times the time; second tries at higher temperatures mend nothing there, and make 150
/// words instead of 27 of 26 minutes of noise. Where Whisper may write `[Music]`, which the guard refuses, the 27 become 1.
fn params(language: LanguageCode, threads: usize) -> FullParams<'static, 'static> {
    let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
    params.set_language(Some(language));
    params.set_n_threads(threads as i32);
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

fn language(path: &Path, wanted: &str, multilingual: bool) -> Result<LanguageCode, AsrError> {
    let wanted = wanted.to_ascii_lowercase();
    if wanted == AUTO {
        return Ok(if multilingual { AUTO } else { "en" });
    }
    // whisper.cpp takes full names, too; they would make "english" and "en" two settings. A zero byte would panic.
    let id = (!wanted.contains('\0')).then(|| whisper_rs::get_lang_id(&wanted)).flatten();
    let known = id.and_then(whisper_rs::get_lang_str).filter(|code| *code == wanted);
    let known = known.ok_or(AsrError::UnknownLanguage { language: wanted })?;
    if multilingual || known == "en" {
        return Ok(known);
    }
    Err(AsrError::EnglishOnly { path: path.into(), language: known.into() })
}

fn piece(segment: &whisper_rs::WhisperSegment, end_of_text: i32) -> TextSegment {
    let tokens: Vec<_> = (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)).collect();
    let text_tokens = tokens.iter().map(|token| token.token_data()).filter(|token| token.id < end_of_text);
    let (sum, count) = text_tokens.fold((0.0, 0), |(sum, count), token| (sum + token.plog, count + 1));
    let mut words = words(&tokens, end_of_text);
    words.first_mut().into_iter().for_each(|word| word.starts_segment = true);
    TextSegment {
        // The bytes of a character may be split over tokens, and a cut may fall between them.
        text: segment.to_str_lossy().map(|text| text.trim().to_owned()).unwrap_or_default(),
        mean_logprob: if count == 0 { f32::NEG_INFINITY } else { sum / count as f32 },
        no_speech: segment.no_speech_probability(),
        words,
        tokens: segment.n_tokens() as usize,
    }
}

/// Joins tokens to words: a word begins with the token that begins with a space. What stands before it and is no text, a
/// time, belongs to it.
fn words(tokens: &[WhisperToken], end_of_text: i32) -> Vec<Word> {
    let mut words = Vec::new();
    let mut from = 0;
    for (at, token) in tokens.iter().enumerate() {
        let is_text = |token: Option<&WhisperToken>| token.is_some_and(|token| token.token_id() < end_of_text);
        let next = tokens.get(at + 1);
        let spaced = next.is_some_and(|next| next.to_bytes().is_ok_and(|bytes| bytes.starts_with(b" ")));
        if is_text(Some(token)) && (spaced || !is_text(next)) {
            words.push(word(&tokens[from..=at], end_of_text));
            from = at + 1;
        }
    }
    words.retain(|word| !word.text.is_empty());
    words
}

fn word(tokens: &[WhisperToken], end_of_text: i32) -> Word {
    let text = || tokens.iter().filter(|token| token.token_id() < end_of_text);
    let data: Vec<_> = text().map(|token| token.token_data()).collect();
    let bytes: Vec<u8> = text().flat_map(|token| token.to_bytes().unwrap_or_default()).copied().collect();
    Word {
        text: String::from_utf8_lossy(&bytes).trim().to_owned(),
        start_s: data.first().map_or(0.0, |token| token.t0 as f64 / 100.0),
        end_s: data.last().map_or(0.0, |token| token.t1 as f64 / 100.0),
        probability: data.iter().map(|token| token.p).fold(1.0, f32::min),
        logprob: data.iter().map(|token| token.plog).sum::<f32>() / data.len().max(1) as f32,
        starts_segment: tokens.len() > data.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_the_sound_and_silence_behind_it() {
        assert_eq!(places(0), MIN_PLACES);
        let seconds = |s: usize| places(s * SAMPLE_RATE as usize);
        assert_eq!((seconds(10), seconds(26), seconds(600)), (500 + SILENT_PLACES, PLACES, PLACES));
        assert_eq!(places(10 * SAMPLE_RATE as usize + 1), 501 + SILENT_PLACES, "the last sample has a place, too");
    }
}
