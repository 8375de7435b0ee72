//! Reads the `manifest.tsv` of a folder of recordings: which files there are, and what is said in them.
//!
//! Every error in a manifest names its line.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// The file that lists the recordings beside it.
const MANIFEST: &str = "manifest.tsv";

/// One recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recording {
    pub(crate) path: PathBuf,
    /// What is said in it. Empty where nobody speaks.
    pub(crate) reference: String,
    pub(crate) set: String,
    /// When each word of the reference ends, in seconds, if the manifest says it.
    pub(crate) word_ends: Option<Vec<f64>>,
}

/// Every recording listed by a manifest in the folder or one level down.
///
/// # Errors
/// There is no manifest, or one is malformed.
pub(crate) fn read(folder: &Path) -> anyhow::Result<Vec<Recording>> {
    ensure!(
        folder.is_dir(),
        "{} is not a folder; give one that contains recordings and a {MANIFEST}",
        folder.display()
    );
    let mut manifests = vec![folder.join(MANIFEST)];
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        manifests.push(entry?.path().join(MANIFEST));
    }
    manifests.retain(|path| path.is_file());
    manifests.sort();
    ensure!(
        !manifests.is_empty(),
        "{} holds no {MANIFEST}, nor does a folder in it: a table with a line \"file, reference, set\" and one line for each \
         recording, divided by tabs; an empty reference says that nobody speaks",
        folder.display()
    );
    let mut recordings = Vec::new();
    for path in manifests {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let beside = path.parent().unwrap_or(Path::new(""));
        recordings.extend(parse(&text, beside).with_context(|| path.display().to_string())?);
    }
    ensure!(!recordings.is_empty(), "the {MANIFEST} in {} tells of no recording", folder.display());
    Ok(recordings)
}

fn parse(text: &str, beside: &Path) -> anyhow::Result<Vec<Recording>> {
    let mut lines = text.lines().enumerate();
    let header: Vec<&str> = lines.next().map(|(_, line)| line.split('\t').collect()).unwrap_or_default();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (Some(file), Some(reference)) = (column("file"), column("reference")) else {
        bail!("line 1 must name the columns \"file\" and \"reference\", divided by tabs; it says {header:?}");
    };
    let set = column("set");
    let ends = column("word_ends");
    let mut recordings = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let number = number + 1;
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |column: usize| cells.get(column).map(|cell| cell.trim());
        let name =
            cell(file).filter(|name| !name.is_empty()).with_context(|| format!("line {number} names no file"))?;
        let path = beside.join(name);
        ensure!(path.is_file(), "line {number}: {} is not there", path.display());
        let reference = cell(reference).unwrap_or_default().to_owned();
        let ends = ends.and_then(cell).filter(|ends| !ends.is_empty());
        let times = |ends: &str| ends.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
        let word_ends =
            ends.map(times).transpose().with_context(|| format!("line {number}: word_ends are no seconds"))?;
        let words = reference.split_whitespace().count();
        if let Some(ends) = word_ends.as_ref().filter(|ends| ends.len() != words) {
            bail!("line {number}: the reference has {words} words, word_ends has {} times", ends.len());
        }
        let set = set.and_then(cell).unwrap_or_default().to_owned();
        recordings.push(Recording { path, reference, set, word_ends });
    }
    Ok(recordings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_found_in_the_folder_or_one_level_down() {
        let home = tempfile::tempdir().unwrap();
        let error = read(home.path()).unwrap_err().to_string();
        assert!(error.contains("holds no manifest.tsv"), "{error}");
        let speech = home.path().join("speech");
        std::fs::create_dir(&speech).unwrap();
        std::fs::write(speech.join("a.flac"), "").unwrap();
        std::fs::write(
            speech.join(MANIFEST),
            "file\tseconds\treference\tset\tword_ends\na.flac\t2\tgood morning\tx\t0.5 1\n\n",
        )
        .unwrap();
        let found = read(home.path()).unwrap();
        let expected = Recording {
            path: speech.join("a.flac"),
            reference: "good morning".into(),
            set: "x".into(),
            word_ends: Some(vec![0.5, 1.0]),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn an_error_in_a_manifest_names_its_line() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("a.wav"), "").unwrap();
        let wrong = |text: &str| format!("{:#}", parse(text, home.path()).unwrap_err());
        assert!(wrong("").contains("line 1 must name"));
        assert!(wrong("file\treference\n\tx").contains("line 2 names no file"));
        assert!(wrong("file\treference\nb.wav\tx").contains("b.wav is not there"));
        assert!(wrong("file\treference\tword_ends\na.wav\tx y\t1").contains("2 words, word_ends has 1"));
        assert!(wrong("file\treference\tword_ends\na.wav\tx\tsoon").contains("line 2: word_ends are no seconds"));
    }
}
