//! Whisper, by whisper.cpp: loading a model and decoding audio with it.
//!
//! Decoding leaves nothing behind: the same samples give the same text, whatever was decoded before.

use std::path::Path;

use whisper_bias::{RaisedToken, WordBias};
use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperState, WhisperTokenData,
    WhisperTokenId,
};

use super::hot_words::HotWords;
use super::language::{self, LanguageCode};
use super::{AsrError, Word, ggml_file};
use crate::clock::SAMPLE_RATE;
use crate::{config, models};

/// whisper.cpp returns nothing for less than 100 ms and reads out of bounds below 201 samples; a second is safe and free,
/// since more than that is encoded in any case.
const MIN_SAMPLES: usize = SAMPLE_RATE as usize;

/// Samples per position of the encoder's output, and positions for the full window of 30 s.
const POSITION_SAMPLES: usize = SAMPLE_RATE as usize / 50;
const FULL_WINDOW: usize = 1500;

/// Whisper was trained on windows of 30 s, padded with silence. A shorter window, with so many positions of silence after the audio and
/// at least so many positions in all, gives nearly the same text in a third of the time. With less silence Whisper begins to
/// repeat itself. Measured in `docs/performance.md`.
const SILENT_POSITIONS: usize = 256;
const MIN_POSITIONS: usize = 384;

/// The language is detected.
const AUTO: LanguageCode = "auto";

/// Tokens of a model of several languages that are no languages.
const OTHER_TOKENS: i32 = 51_766;

/// More threads than this make a small model slower.
const MAX_THREADS: usize = 4;

/// Cores left to the rest of the machine. whisper.cpp's threads spin while they wait for each other, so one thread per core is much
/// slower on a busy machine (`docs/performance.md`).
const SPARE_CORES: usize = 1;

/// By so many nats a word that is called out is likelier as the first word of a short segment. Measured in `docs/performance.md`.
const CALLED_OUT_BONUS: f32 = 4.0;

/// What a pass over a segment does beyond the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WhisperPass {
    /// The hot words are its prompt, which may make Whisper repeat or leave out sentences.
    pub(crate) prompted: bool,
    /// The full window of 30 s is encoded.
    pub(crate) full_window: bool,
    /// Words that are called out are likelier as its first word.
    pub(crate) called_out: bool,
}

/// One of the segments into which Whisper divides the text of a decode.
#[derive(Clone, Debug, PartialEq)]
pub struct TextSegment {
    pub text: String,
    /// Mean natural logarithm of the probabilities of its tokens.
    pub(crate) mean_logprob: f32,
    /// The probability that nobody spoke, 0 … 1.
    pub no_speech: f32,
    pub(crate) words: Vec<Word>,
    /// Tokens written for it.
    pub(crate) tokens: usize,
}

/// A loaded model with its decoder state.
pub struct Whisper {
    context: WhisperContext,
    state: WhisperState,
    /// The parameters for each language that was used. They are kept because whisper-rs leaks a little memory whenever a language is set.
    params: Vec<(LanguageCode, FullParams<'static, 'static>)>,
    /// The language of the next decode. With [`AUTO`] every decode detects it.
    language: LanguageCode,
    /// The settings say "auto": the caller is to detect and set the language.
    detects_language: bool,
    /// The languages that may be detected, by Whisper's numbers; all where there are none.
    allowed: Vec<usize>,
    threads: usize,
    hot_words: HotWords,
    /// The hot words. The text that was said before is not part of the prompt: it does not reduce the errors (`docs/performance.md`).
    prompt: Vec<WhisperTokenId>,
    /// Every decode has the prompt.
    always_prompted: bool,
    /// Words that are called out, and the hot words.
    called_out: WordBias,
    /// The same in other languages than English, where the words that are called out are the default, which is English.
    called_out_elsewhere: Option<WordBias>,
    padded: Vec<f32>,
    /// Every decode encodes the full window of 30 s.
    full_window: bool,
}

impl Whisper {
    /// Loads a model in ggml format. The file is checked first, and its checksum if it is a bundled model.
    ///
    /// # Errors
    /// The file is not a complete Whisper model, its checksum is wrong, or the settings do not fit it.
    pub fn load(path: &Path, settings: &config::AsrConfig) -> Result<Self, AsrError> {
        whisper_rs::install_logging_hooks();
        ggml_file::check(path)?;
        models::verify(path).map_err(|source| AsrError::Load { path: path.into(), source: source.into() })?;
        let failed = |source: whisper_rs::WhisperError| AsrError::Load { path: path.into(), source: source.into() };
        let context = WhisperContext::new_with_params(path, WhisperContextParameters::default()).map_err(failed)?;
        let language = language(path, &settings.language, &context)?;
        let allowed = settings.languages.iter().flatten().map(|wanted| language_id(path, wanted, &context));
        let allowed = allowed.collect::<Result<_, _>>()?;
        let threads = thread_count(settings.threads);
        let state = context.create_state().map_err(failed)?;
        let prompt = settings.hot_words.join(", ");
        // A token is at least a byte. Too small a bound is no error in whisper-rs 0.16 but a vector of a wild length.
        let prompt = context.tokenize(&prompt, prompt.len() + 1);
        let prompt = prompt.map_err(|source| AsrError::HotWords { source: source.into() })?;
        let called_out = [&settings.called_out[..], &settings.hot_words].concat();
        let bias = |words: &[String]| {
            WordBias::new(&context, words, CALLED_OUT_BONUS)
                .map_err(|source| AsrError::CalledOut { source: source.into() })
        };
        let called_out = bias(&called_out)?;
        let is_english = settings.called_out == config::AsrConfig::default().called_out;
        let called_out_elsewhere = is_english.then(|| bias(&settings.hot_words)).transpose()?;
        Ok(Self {
            context,
            state,
            params: vec![(language, params(language, threads))],
            language,
            detects_language: language == AUTO,
            allowed,
            threads,
            hot_words: HotWords::new(&settings.hot_words),
            prompt,
            always_prompted: false,
            called_out,
            called_out_elsewhere,
            padded: Vec::new(),
            full_window: false,
        })
    }

    /// Encodes the full window of 30 s for every decode, as other programs do. For comparisons in `hearth bench hearing`.
    #[cfg(feature = "bench")]
    pub(crate) fn with_full_window(mut self) -> Self {
        self.full_window = true;
        self
    }

    /// Gives every decode the hot words as a prompt, as other programs do. For comparisons in `hearth bench hearing`.
    #[cfg(feature = "bench")]
    pub(crate) fn always_prompted(mut self) -> Self {
        self.always_prompted = true;
        self
    }

    /// How many samples a pass encodes, with the silence after them, to decode so many samples.
    pub(crate) fn encoded_samples(&self, samples: usize, pass: WhisperPass) -> usize {
        let positions = if self.full_window || pass.full_window { FULL_WINDOW } else { positions(samples) };
        positions * POSITION_SAMPLES
    }

    /// The settings do not name the language: see [`Whisper::detect_language`] and [`Whisper::set_language`].
    pub(crate) fn detects_language(&self) -> bool {
        self.detects_language
    }

    /// The likeliest of the allowed languages in up to 30 s of audio, and its probability among them. Costs as much as encoding the audio for a decode.
    ///
    /// # Errors
    /// Whisper fails.
    pub fn detect_language(&mut self, samples: &[f32]) -> Result<(LanguageCode, f32), AsrError> {
        let failed = |source: whisper_rs::WhisperError| failure(samples, source.into());
        let padded = padded(&mut self.padded, samples);
        self.state.pcm_to_mel(padded, self.threads).map_err(failed)?;
        let (_, probabilities) = self.state.lang_detect(0, self.threads).map_err(failed)?;
        let (id, probability) = language::likeliest(&probabilities, &self.allowed).unwrap_or_default();
        Ok((whisper_rs::get_lang_str(id as i32).unwrap_or(AUTO), probability))
    }

    /// The language of the following decodes.
    pub(crate) fn language(&self) -> LanguageCode {
        self.language
    }

    /// Sets the language of the following decodes.
    pub(crate) fn set_language(&mut self, language: LanguageCode) {
        self.language = language;
        if !self.params.iter().any(|(known, _)| *known == language) {
            self.params.push((language, params(language, self.threads)));
        }
    }

    /// The hot words, for a pass that is prompted.
    pub(crate) fn hot_words(&self) -> &HotWords {
        &self.hot_words
    }

    /// Decodes up to 30 s of mono audio at 16 kHz, without the hot words and with a short window.
    ///
    /// # Errors
    /// Whisper fails.
    pub fn decode(&mut self, samples: &[f32]) -> Result<Vec<TextSegment>, AsrError> {
        self.decode_as(samples, WhisperPass::default())
    }

    /// The same with more effort.
    ///
    /// # Errors
    /// Whisper fails.
    pub(crate) fn decode_as(&mut self, samples: &[f32], pass: WhisperPass) -> Result<Vec<TextSegment>, AsrError> {
        let prompted = self.always_prompted || pass.prompted;
        let spoken = self.params.iter().find(|(language, _)| *language == self.language);
        let mut params = spoken.expect("parameters are made when a language is set").1.clone();
        params.set_tokens(if prompted { &self.prompt } else { &[] });
        params.set_audio_ctx((self.encoded_samples(samples.len(), pass) / POSITION_SAMPLES) as i32);
        let padded = padded(&mut self.padded, samples);
        let raised = if pass.called_out {
            let elsewhere = self.called_out_elsewhere.as_ref().filter(|_| self.language != "en");
            whisper_bias::full(&mut self.state, params, padded, elsewhere.unwrap_or(&self.called_out))
        } else {
            self.state.full(params, padded).map(|_| Vec::new())
        };
        let mut raised = raised.map_err(|source| failure(samples, source.into()))?;
        let end_of_text = self.context.token_eot();
        let segments =
            self.state.as_iter().map(|segment| text_segment(&segment, end_of_text, &std::mem::take(&mut raised)));
        Ok(segments.filter(|segment| !segment.text.is_empty()).collect())
    }
}

fn failure(samples: &[f32], source: Box<dyn std::error::Error + Send + Sync>) -> AsrError {
    AsrError::Decode { seconds: samples.len() as f64 / f64::from(SAMPLE_RATE), source }
}

/// The samples, with silence appended up to the minimum that whisper.cpp accepts.
fn padded<'a>(space: &'a mut Vec<f32>, samples: &'a [f32]) -> &'a [f32] {
    if samples.len() >= MIN_SAMPLES {
        return samples;
    }
    space.clear();
    space.extend_from_slice(samples);
    space.resize(MIN_SAMPLES, 0.0);
    space
}

/// The encoder positions for so many samples.
fn positions(samples: usize) -> usize {
    (samples.div_ceil(POSITION_SAMPLES) + SILENT_POSITIONS).clamp(MIN_POSITIONS, FULL_WINDOW)
}

/// Greedy decoding at temperature 0, and Whisper may write descriptions of sounds such as `[Music]`, which the hallucination filter
/// rejects. A beam search costs 1.8 times the time for few errors less, and retries at higher temperatures write more words into
/// noise. Measured in `docs/performance.md`.
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

/// The number of threads. 0 means one less than the machine has cores, and at most [`MAX_THREADS`].
fn thread_count(wanted: usize) -> usize {
    match wanted {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            cores.saturating_sub(SPARE_CORES).clamp(1, MAX_THREADS)
        }
        wanted => wanted,
    }
}

fn language(path: &Path, wanted: &str, context: &WhisperContext) -> Result<LanguageCode, AsrError> {
    if wanted.eq_ignore_ascii_case(AUTO) {
        let detects = context.is_multilingual();
        return if detects { Ok(AUTO) } else { Err(AsrError::NothingToDetect { path: path.into() }) };
    }
    let id = language_id(path, wanted, context)?;
    whisper_rs::get_lang_str(id as i32).ok_or_else(|| AsrError::UnknownLanguage { language: wanted.into() })
}

/// Whisper's number of a language that the model knows.
fn language_id(path: &Path, wanted: &str, context: &WhisperContext) -> Result<usize, AsrError> {
    let wanted = wanted.to_ascii_lowercase();
    // `get_lang_id` also accepts full names, but one language should have one name here; it logs an error of its own, and a zero byte would
    // panic.
    let id = (0..=whisper_rs::get_lang_max_id()).find(|&id| whisper_rs::get_lang_str(id) == Some(wanted.as_str()));
    let id = id.ok_or_else(|| AsrError::UnknownLanguage { language: wanted.clone() })?;
    let path = path.into();
    match context.is_multilingual() {
        false if wanted != "en" => Err(AsrError::EnglishOnly { path, language: wanted }),
        // Each language is a token. Newer models have one language more than older ones.
        true if id >= context.n_vocab() - OTHER_TOKENS => Err(AsrError::LacksLanguage { path, language: wanted }),
        _ => Ok(id as usize),
    }
}

/// A token with its data, whose probabilities are those without a bonus.
struct WrittenToken<'a> {
    bytes: &'a [u8],
    data: WhisperTokenData,
    is_text: bool,
    bonus: f32,
}

fn text_segment(
    segment: &whisper_rs::WhisperSegment,
    end_of_text: WhisperTokenId,
    raised: &[RaisedToken],
) -> TextSegment {
    let mut written = 0;
    let tokens = (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)).map(|token| {
        let mut data = token.token_data();
        let is_text = data.id < end_of_text;
        let mut bonus = 0.0;
        if is_text {
            if let Some(raised) = raised.iter().find(|raised| (raised.index, raised.id) == (written, data.id)) {
                data.plog = raised.logprob;
                data.p = raised.logprob.exp();
                bonus = CALLED_OUT_BONUS;
            }
            written += 1;
        }
        WrittenToken { bytes: token.to_bytes().unwrap_or_default(), data, is_text, bonus }
    });
    let tokens: Vec<_> = tokens.collect();
    let sum: f32 = tokens.iter().filter(|token| token.is_text).map(|token| token.data.plog).sum();
    let mut words = words(&tokens);
    words.first_mut().into_iter().for_each(|word| word.starts_segment = true);
    TextSegment {
        // The bytes of a character may be divided between tokens, and the text may end between them.
        text: segment.to_str_lossy().map(|text| text.trim().to_owned()).unwrap_or_default(),
        mean_logprob: if written == 0 { f32::NEG_INFINITY } else { sum / written as f32 },
        no_speech: segment.no_speech_probability(),
        words,
        tokens: segment.n_tokens() as usize,
    }
}

/// Joins tokens to words. A word begins with a token that begins with a space. A timestamp token before it belongs to the word.
fn words(tokens: &[WrittenToken]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut from = 0;
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1);
        let goes_on = next.is_some_and(|next| next.is_text && !next.bytes.starts_with(b" "));
        if token.is_text && !goes_on {
            words.push(word(&tokens[from..=at]));
            from = at + 1;
        }
    }
    words.retain(|word| !word.text.is_empty());
    words
}

fn word(tokens: &[WrittenToken]) -> Word {
    let text: Vec<_> = tokens.iter().filter(|token| token.is_text).collect();
    let bytes: Vec<u8> = text.iter().flat_map(|token| token.bytes).copied().collect();
    Word {
        text: String::from_utf8_lossy(&bytes).trim().to_owned(),
        start_s: text.first().map_or(0.0, |token| token.data.t0 as f64 / 100.0),
        end_s: text.last().map_or(0.0, |token| token.data.t1 as f64 / 100.0),
        probability: text.iter().map(|token| token.data.p).fold(1.0, f32::min),
        logprob: text.iter().map(|token| token.data.plog).sum::<f32>() / text.len().max(1) as f32,
        starts_segment: tokens.len() > text.len(),
        bonus: text.iter().map(|token| token.bonus).sum::<f32>() / text.len().max(1) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_covers_the_audio_and_the_silence_after_it() {
        assert_eq!(positions(0), MIN_POSITIONS);
        let seconds = |s: usize| positions(s * SAMPLE_RATE as usize);
        assert_eq!((seconds(10), seconds(26), seconds(600)), (500 + SILENT_POSITIONS, FULL_WINDOW, FULL_WINDOW));
        assert_eq!(
            positions(10 * SAMPLE_RATE as usize + 1),
            501 + SILENT_POSITIONS,
            "the last sample has a position, too"
        );
    }
}
