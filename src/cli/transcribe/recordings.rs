//! Which recordings are meant, and where the text of each goes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::TranscriptFormat;
use crate::audio;

/// What is taken for a recording in a folder. Opus is among them, so that a folder of voice messages says why it gives no text.
const ENDINGS: [&str; 15] =
    ["wav", "wave", "rf64", "flac", "mp3", "m4a", "m4b", "mp4", "mov", "aac", "ogg", "oga", "opus", "mkv", "webm"];

/// One recording.
pub(super) struct NamedRecording {
    pub(super) path: PathBuf,
    /// What it is called in messages and output.
    pub(super) name: String,
    /// The name of its text: below the folder that was named, or alone.
    below: PathBuf,
}

impl NamedRecording {
    /// The recordings that are named, and those in folders that are named, in the order of their names.
    ///
    /// # Errors
    /// A folder cannot be read or holds none.
    pub(super) fn all(named: &[PathBuf]) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for path in named {
            if path == Path::new("-") {
                let below = "standard-input".into();
                all.push(Self { path: audio::STDIN.into(), name: "standard input".into(), below });
            } else if path.is_dir() {
                let mut found = Vec::new();
                search(path, &mut found)?;
                ensure!(
                    !found.is_empty(),
                    "the folder {} holds no recordings: none ends in .{}",
                    path.display(),
                    ENDINGS.join(", .")
                );
                found.sort();
                all.extend(found.into_iter().map(|found| {
                    let below = found.strip_prefix(path).unwrap_or(&found).into();
                    Self { name: found.display().to_string(), below, path: found }
                }));
            } else {
                let below = path.file_name().map_or_else(|| path.clone(), PathBuf::from);
                all.push(Self { path: path.clone(), name: path.display().to_string(), below });
            }
        }
        let pipes = all.iter().filter(|recording| recording.path == Path::new(audio::STDIN)).count();
        ensure!(pipes <= 1, "standard input can be read once only");
        Ok(all)
    }

    /// It can be read once only.
    pub(super) fn is_pipe(&self) -> bool {
        // What cannot be looked at tells so when it is opened.
        std::fs::metadata(&self.path).is_ok_and(|file| !file.is_file() && !file.is_dir())
    }
}

/// Looks for recordings in a folder and those below it. Links to folders are not followed: they may lead in circles.
fn search(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let wrong = || format!("the folder {} cannot be read", folder.display());
    for entry in std::fs::read_dir(folder).with_context(wrong)? {
        let entry = entry.with_context(wrong)?;
        let (path, kind) = (entry.path(), entry.file_type().with_context(wrong)?);
        let ending = path.extension().and_then(OsStr::to_str).map(str::to_lowercase);
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_dir() {
            search(&path, found)?;
        } else if ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// The file for the text of each recording; none of them where no output is named.
///
/// # Errors
/// The output is a file where a folder is needed, or two texts would go into one file.
pub(super) fn outputs(
    recordings: &[NamedRecording],
    output: Option<&Path>,
    several: bool,
    format: TranscriptFormat,
) -> anyhow::Result<Vec<Option<PathBuf>>> {
    let Some(output) = output else { return Ok(recordings.iter().map(|_| None).collect()) };
    if !several && !output.is_dir() {
        return Ok(vec![Some(output.into())]);
    }
    ensure!(!output.is_file(), "{} is a file: several recordings need a folder", output.display());
    let ending = match format {
        TranscriptFormat::Txt => "txt",
        TranscriptFormat::Srt => "srt",
        TranscriptFormat::Vtt => "vtt",
        TranscriptFormat::Json => "json",
    };
    let short = |recording: &NamedRecording| recording.below.with_extension(ending);
    let mut taken = BTreeSet::new();
    let mut outputs = Vec::new();
    for recording in recordings {
        // One name with two endings, as a.wav and a.mp3, keeps both.
        let alone = recordings.iter().filter(|other| short(other) == short(recording)).count() == 1;
        let mut full = recording.below.clone().into_os_string();
        full.push(format!(".{ending}"));
        let path = output.join(if alone { short(recording) } else { full.into() });
        if !taken.insert(path.clone()) {
            bail!("the text of two recordings would go into {}: transcribe them one after the other", path.display());
        }
        outputs.push(Some(path));
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_searched_in_order_and_each_text_has_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("may")).unwrap();
        for file in ["b.MP3", "a.wav", "notes.txt", ".hidden.wav", "may/a.ogg", "a.flac"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let found = NamedRecording::all(&[dir.path().into()]).unwrap();
        let below: Vec<_> = found.iter().map(|recording| recording.below.to_str().unwrap()).collect();
        assert_eq!(below, ["a.flac", "a.wav", "b.MP3", "may/a.ogg"]);
        let outputs = outputs(&found, Some(Path::new("out")), true, TranscriptFormat::Srt).unwrap();
        let outputs: Vec<_> = outputs.iter().flatten().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(outputs, ["out/a.flac.srt", "out/a.wav.srt", "out/b.srt", "out/may/a.srt"]);

        let empty = tempfile::tempdir().unwrap();
        let error = NamedRecording::all(&[empty.path().into()]).err().unwrap().to_string();
        assert!(error.contains("holds no recordings: none ends in .wav, "), "{error}");
        assert!(NamedRecording::all(&["-".into(), "-".into()]).is_err());
    }
}
