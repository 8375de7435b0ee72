//! Listing the input devices of this machine, and finding one by its name.

use cpal::ErrorKind;
use cpal::traits::{DeviceTrait, HostTrait};

use crate::audio::AudioError;

/// The name of the system's default device.
const DEFAULT: &str = "default";

/// A microphone, as `hearth devices` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct InputDevice {
    /// The value for `[source.microphone] device`.
    pub name: String,
    pub description: String,
    pub default: bool,
    /// What it delivers, or why it cannot be opened at the moment.
    pub format: Result<DeviceFormat, String>,
}

/// What a device delivers.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceFormat {
    /// Hz.
    pub rate: u32,
    pub channels: u16,
    pub samples: String,
}

/// Every microphone of this machine, the default one first.
///
/// # Errors
/// There is no sound system.
pub fn devices() -> Result<Vec<InputDevice>, AudioError> {
    let inputs = host()?.input_devices().map_err(|source| AudioError::NoHost { source: source.into() })?;
    let mut devices: Vec<InputDevice> = inputs.filter_map(|device| describe(&device)).collect();
    devices.sort_by_key(|device| !device.default);
    Ok(devices)
}

/// Opens the sound system. ALSA writes to standard error whatever it tries, eight lines for each attempt to open a microphone that is
/// away. The error handler set here discards them, on this thread.
fn host() -> Result<cpal::Host, AudioError> {
    let _ = alsa::Output::local_error_handler();
    cpal::host_from_id(cpal::default_host().id()).map_err(|source| AudioError::NoHost { source: source.into() })
}

/// None for what is not a microphone: playback devices that also call themselves input devices, and ALSA's `null`.
fn describe(device: &cpal::Device) -> Option<InputDevice> {
    let name = device.id().ok()?.id().to_owned();
    let format = match device.default_input_config() {
        Ok(config) => Ok(DeviceFormat {
            rate: config.sample_rate(),
            channels: config.channels(),
            samples: config.sample_format().to_string(),
        }),
        Err(error) if error.kind() == ErrorKind::DeviceBusy => Err("in use by another program".into()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err("this user may not open it".into()),
        Err(_) => return None,
    };
    let description = device.description().map(|description| description.name().to_owned()).unwrap_or_default();
    (name != "null").then(|| InputDevice { default: name == DEFAULT, name, description, format })
}

/// The device of that name.
pub(super) fn find(name: &str) -> Result<cpal::Device, AudioError> {
    let host = host()?;
    let missing = |known| AudioError::NoDevice { name: name.into(), known };
    if name == DEFAULT {
        return host.default_input_device().ok_or_else(|| missing(Vec::new()));
    }
    let inputs = host.input_devices().map_err(|source| AudioError::NoHost { source: source.into() })?;
    let is_it = |device: &cpal::Device| device.id().is_ok_and(|id| id.id() == name);
    let found = inputs.into_iter().find(is_it);
    found.ok_or_else(|| missing(devices().unwrap_or_default().into_iter().map(|device| device.name).collect()))
}
