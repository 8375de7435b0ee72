//! `hearth models fetch`: downloads a model by its name. The path goes to standard output, everything else to standard error.

use crate::cli::output::stdout;
use std::io::IsTerminal;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Chain, Context};
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};

use crate::models;
use crate::models::fetch::catalog::{self, CatalogEntry, HUB, Parts};
use crate::models::fetch::hub::{Hub, Token};
use crate::models::fetch::{FetchEvent, Fetcher, RetryPolicy};

/// Between two lines about one file, where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct FetchArgs {
    /// As `hearth models fetch` lists it; left out, the names are listed
    name: Option<String>,
    /// The folder to put it into; by default one that hearth looks in: $HEARTH_MODELS, else /var/lib/hearth/models where hearth
    /// is installed, else ./models
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// A file that holds an access token; by default $HF_TOKEN, else the one the hub's own programs keep. Only models whose
    /// license must be accepted need one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The hub, or a mirror of it; by default $HF_ENDPOINT, else huggingface.co
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

/// Fetches a model and prints its path, or lists what can be fetched.
///
/// # Errors
/// The model could not be fetched completely.
pub(crate) fn run(args: FetchArgs) -> anyhow::Result<()> {
    let Some(name) = &args.name else {
        write!(stdout(), "{}", list())?;
        return Ok(());
    };
    let entry = catalog::find(name)?;
    let token = if entry.gated { token(args.token_file.as_deref())? } else { None };
    let endpoint = args.endpoint.or_else(|| variable("HF_ENDPOINT")).unwrap_or_else(|| HUB.into());
    let hub = Hub::new(&endpoint, token)?;
    let to = args.to.unwrap_or_else(models::home);
    let mut show = FetchDisplay::new()?;
    let fetched =
        Fetcher { hub, retry: RetryPolicy::default(), tell: &mut |event| show.see(&event) }.fetch(&entry, &to);
    show.end();
    let path = fetched.with_context(|| format!("{} was not fetched", entry.name))?;
    writeln!(stdout(), "{}", path.display())?;
    eprintln!("{}", hint(&entry, &path));
    Ok(())
}

fn list() -> String {
    let row = |entry: CatalogEntry| {
        let size = DecimalBytes(entry.about_bytes).to_string();
        let gate =
            if entry.gated { format!(", to be accepted at {}", catalog::page(entry.repo)) } else { String::new() };
        format!("{:<30}{size:>10}  {}{gate}\n", entry.name, entry.license)
    };
    catalog::entries().map(row).collect()
}

/// The line for the config that uses the model.
fn hint(entry: &CatalogEntry, path: &Path) -> String {
    let section = match entry.parts {
        Parts::File(_) => "[asr]",
        Parts::Folder => "[listener]",
    };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    format!("In the config: {section} model = \"{}\". License: {}.", path.display(), entry.license)
}

/// The access token, if there is one: the named file first, then the environment, then the file of Hugging Face's own programs.
fn token(file: Option<&Path>) -> anyhow::Result<Option<Token>> {
    let read = |path: &Path| {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the token file {}", path.display()))?;
        anyhow::Ok(Some(Token::new(&text, &path.display().to_string())?))
    };
    if let Some(path) = file {
        return read(path);
    }
    if let Some(text) = variable("HF_TOKEN") {
        return Ok(Some(Token::new(&text, "HF_TOKEN")?));
    }
    let cache = || variable("HOME").map(|home| Path::new(&home).join(".cache/huggingface"));
    let kept = variable("HF_HOME").map(PathBuf::from).or_else(cache).map(|home| home.join("token"));
    kept.filter(|path| path.is_file()).map_or(Ok(None), |path| read(&path))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Shows the progress: a bar on a terminal, otherwise lines.
struct FetchDisplay {
    bar: Option<ProgressBar>,
    last: Instant,
}

impl FetchDisplay {
    fn new() -> anyhow::Result<Self> {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{msg} {bar:30} {percent:>3} %, {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
            anyhow::Ok(ProgressBar::no_length().with_style(ProgressStyle::with_template(template)?))
        });
        Ok(Self { bar: bar.transpose()?, last: Instant::now() })
    }

    fn see(&mut self, event: &FetchEvent<'_>) {
        match *event {
            FetchEvent::Present { file } => self.line(&format!("{file}: already there, and intact")),
            FetchEvent::Begin { file, at, size } => self.begin(file, at, size),
            FetchEvent::Anew { file } => {
                self.line(&format!("{file}: the server cannot continue where it stopped; starting from the beginning"))
            }
            FetchEvent::Bytes { file, done, size } => self.grow(file, done, size),
            FetchEvent::Again { why } => {
                let causes: Vec<String> = Chain::new(why).map(ToString::to_string).collect();
                self.line(&format!("{}; trying again", causes.join(": ")));
            }
            FetchEvent::Done { file } => self.line(&format!("{file}: complete and verified")),
        }
    }

    fn begin(&mut self, file: &str, at: u64, size: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(size);
                bar.set_position(at);
                bar.reset_eta();
                bar.set_message(file.to_string());
            }
            None if at > 0 => eprintln!("{file}: {}, going on from {}", DecimalBytes(size), DecimalBytes(at)),
            None => eprintln!("{file}: {}", DecimalBytes(size)),
        }
    }

    fn grow(&mut self, file: &str, done: u64, size: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.last.elapsed() >= BETWEEN_LINES => {
                self.last = Instant::now();
                eprintln!("{file}: {} of {}", DecimalBytes(done), DecimalBytes(size));
            }
            None => {}
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_size_and_license_of_each() {
        let list = list();
        let line =
            |name: &str| list.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap().to_string();
        assert!(line("whisper-base.en-q5_1").ends_with("60.00 MB  MIT"), "{list}");
        let gated = line("recurrentgemma-2b-it");
        assert!(
            gated.contains("5.37 GB") && gated.contains("https://huggingface.co/google/recurrentgemma-2b-it"),
            "{gated}"
        );
    }

    #[test]
    fn a_token_file_that_is_not_there_is_named_and_its_text_never() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let told = || format!("{:#}", token(Some(&path)).unwrap_err());
        assert!(told().contains(&path.display().to_string()), "{}", told());
        std::fs::write(&path, "hf_secret and more").unwrap();
        assert!(told().contains("is no access token") && !told().contains("secret"), "{}", told());
        std::fs::write(&path, "hf_secret\n").unwrap();
        assert!(token(Some(&path)).unwrap().is_some());
    }
}
