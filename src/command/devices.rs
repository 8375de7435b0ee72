//! `hearth devices`: the microphones of this machine.

use std::io::{Write, stdout};

use serde::Serialize;

use crate::audio::{self, Device};

/// Lists the microphones of this machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    description: &'a str,
    default: bool,
    rate: Option<u32>,
    channels: Option<u16>,
    samples: Option<&'a str>,
    error: Option<&'a str>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let devices = audio::devices()?;
    let mut out = stdout().lock();
    if args.json {
        for device in &devices {
            writeln!(out, "{}", serde_json::to_string(&line(device))?)?;
        }
        return Ok(());
    }
    if devices.is_empty() {
        writeln!(
            out,
            "No microphone found. Plug one in, and see that this user is in the group \"audio\" (`arecord -l` lists the hardware)."
        )?;
        return Ok(());
    }
    let width = devices.iter().map(|device| device.name.chars().count()).max().unwrap_or(0);
    for device in &devices {
        let format = match &device.format {
            Ok(format) => format!("{} Hz, {} channels, {}", format.rate, format.channels, format.samples),
            Err(reason) => reason.clone(),
        };
        let mark = if device.default { "*" } else { " " };
        writeln!(out, "{mark} {:width$}  {format:<28}  {}", device.name, device.description)?;
    }
    writeln!(out, "\nWrite the name into hearth.toml: [source.microphone] device = \"{}\"", devices[0].name)?;
    Ok(())
}

fn line(device: &Device) -> Line<'_> {
    let format = device.format.as_ref().ok();
    Line {
        name: &device.name,
        description: &device.description,
        default: device.default,
        rate: format.map(|format| format.rate),
        channels: format.map(|format| format.channels),
        samples: format.map(|format| format.samples.as_str()),
        error: device.format.as_ref().err().map(String::as_str),
    }
}
