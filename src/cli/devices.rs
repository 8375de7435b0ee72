//! `hearth devices`: the microphones of this machine.

use std::io::Write;

use serde::Serialize;

use super::output::stdout;
use crate::audio::{self, InputDevice};

/// Lists the microphones of this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct DevicesArgs {
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct DeviceLine<'a> {
    name: &'a str,
    description: &'a str,
    default: bool,
    rate: Option<u32>,
    channels: Option<u16>,
    samples: Option<&'a str>,
    error: Option<&'a str>,
}

/// # Errors
/// There is no sound system.
pub(crate) fn run(args: DevicesArgs) -> anyhow::Result<()> {
    write(&audio::devices()?, args.json, &mut stdout())
}

fn write(devices: &[InputDevice], json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        for device in devices {
            writeln!(out, "{}", serde_json::to_string(&line(device))?)?;
        }
        return Ok(());
    }
    let Some(first) = devices.first() else {
        writeln!(
            out,
            "No microphone found. Plug one in, and see that this user is in the group \"audio\" (`arecord -l` lists the hardware)."
        )?;
        return Ok(());
    };
    let formats: Vec<String> = devices.iter().map(format).collect();
    let width = |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let names = width(&mut devices.iter().map(|device| device.name.as_str()));
    let columns = width(&mut formats.iter().map(String::as_str));
    for (device, format) in devices.iter().zip(&formats) {
        let mark = if device.default { "*" } else { " " };
        writeln!(out, "{mark} {:names$}  {format:columns$}  {}", device.name, device.description)?;
    }
    writeln!(out, "\n* the default. For another, write its name into hearth.toml:")?;
    writeln!(out, "[source.microphone]\ndevice = \"{}\"", first.name)?;
    Ok(())
}

fn format(device: &InputDevice) -> String {
    match &device.format {
        Ok(format) => format!("{} Hz, {} channels, {}", format.rate, format.channels, format.samples),
        Err(reason) => reason.clone(),
    }
}

fn line(device: &InputDevice) -> DeviceLine<'_> {
    let format = device.format.as_ref().ok();
    DeviceLine {
        name: &device.name,
        description: &device.description,
        default: device.default,
        rate: format.map(|format| format.rate),
        channels: format.map(|format| format.channels),
        samples: format.map(|format| format.samples.as_str()),
        error: device.format.as_ref().err().map(String::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::DeviceFormat;

    fn written(devices: &[InputDevice], json: bool) -> String {
        let mut out = Vec::new();
        write(devices, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn two() -> [InputDevice; 2] {
        let format = DeviceFormat { rate: 48_000, channels: 2, samples: "f32".into() };
        [
            InputDevice {
                name: "default".into(),
                description: "Default Audio Device".into(),
                default: true,
                format: Ok(format),
            },
            InputDevice {
                name: "plughw:CARD=Jabra,DEV=0".into(),
                description: "Jabra Speak".into(),
                default: false,
                format: Err("in use by another program".into()),
            },
        ]
    }

    #[test]
    fn the_table_is_aligned_and_marks_the_default() {
        let table = written(&two(), false);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "* default                  48000 Hz, 2 channels, f32  Default Audio Device");
        assert_eq!(lines[1], "  plughw:CARD=Jabra,DEV=0  in use by another program  Jabra Speak");
    }

    #[test]
    fn json_has_one_object_a_line() {
        let lines: Vec<serde_json::Value> =
            written(&two(), true).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["rate"], 48_000);
        assert_eq!(lines[1]["error"], "in use by another program");
        assert_eq!(lines[1]["rate"], serde_json::Value::Null);
        assert_eq!(written(&[], true), "");
    }

    #[test]
    fn without_a_microphone_the_output_says_what_to_do() {
        assert!(written(&[], false).starts_with("No microphone found. Plug one in"));
    }
}
