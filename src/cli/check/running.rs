//! The hearth that runs with the config that is checked, and whether it is what uses an address or a microphone.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde_json::json;

use crate::api::Holdings;
use crate::api::control_socket::{self, ControlSocketError};
use crate::api::status::Status;
use crate::cli::run;
use crate::config::Config;

/// The daemon that a check must not take for a stranger.
pub(super) enum RunningHearth {
    None,
    Known {
        pid: u32,
        holds: Holdings,
    },
    /// The service runs, and this user may not ask it.
    Forbidden,
}

impl RunningHearth {
    /// The one with the same state directory.
    pub(super) fn of(config: &Config) -> Self {
        let Ok(dir) = run::existing_state_dir(config) else { return Self::None };
        match control_socket::ask(Some(&dir), &json!({ "command": "status" })) {
            Ok(answer) => match serde_json::from_value(answer) {
                Ok(Status { pid, holds, .. }) if same(&holds.state, &dir) => Self::Known { pid, holds },
                _ => Self::None,
            },
            Err(ControlSocketError::Forbidden { .. }) if run::is_of_the_service(config) => Self::Forbidden,
            Err(_) => Self::None,
        }
    }

    /// Tries to listen on an address.
    ///
    /// # Errors
    /// It cannot be listened on, and it is not the running hearth that does.
    pub(super) fn try_address(&self, address: SocketAddr) -> anyhow::Result<String> {
        match (TcpListener::bind(address), self) {
            (Ok(_), _) => Ok(format!("can listen on {address}")),
            (Err(error), _) if error.kind() != io::ErrorKind::AddrInUse => {
                Err(error).with_context(|| format!("nothing can listen on {address}"))
            }
            (Err(_), Self::Known { holds, .. }) if holds.addresses.iter().any(|held| meet(*held, address)) => {
                Ok(format!("{address} is used by {self}"))
            }
            (Err(_), Self::Forbidden) => Ok(format!("{address} is used, probably by {self}")),
            (Err(_), Self::None | Self::Known { .. }) => bail!(
                "{address} is used by another program, or by a hearth with another config: stop that, or set another address"
            ),
        }
    }

    /// What to tell of a microphone that cannot be opened for `reason`.
    ///
    /// # Errors
    /// It is not the running hearth that uses it.
    pub(super) fn busy_microphone(&self, device: &str, reason: &str) -> anyhow::Result<String> {
        match self {
            Self::Known { holds, .. } if holds.microphones.iter().any(|held| held == device) => {
                Ok(format!("microphone {device} is used by {self}"))
            }
            Self::Forbidden => Ok(format!("microphone {device} is {reason}, probably by {self}")),
            Self::None | Self::Known { .. } => Err(anyhow!("{device}: {reason}")),
        }
    }
}

impl fmt::Display for RunningHearth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no hearth"),
            Self::Known { pid, .. } => write!(f, "the hearth that runs (process {pid})"),
            Self::Forbidden => f.write_str("the service hearth, which runs; `sudo hearth check` can tell"),
        }
    }
}

fn same(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// Whether two programs cannot listen on both. An unspecified address is all of the machine's.
fn meet(held: SocketAddr, wanted: SocketAddr) -> bool {
    let everywhere = held.ip().is_unspecified() || wanted.ip().is_unspecified();
    held.port() == wanted.port() && (everywhere || held.ip() == wanted.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_running_hearth_uses_is_forgiven() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
        let runs = |addresses: &[SocketAddr]| RunningHearth::Known {
            pid: 7,
            holds: Holdings { addresses: addresses.into(), microphones: vec!["hw:1".into()], ..Holdings::default() },
        };
        let error = RunningHearth::None.try_address(address).unwrap_err().to_string();
        assert!(error.contains("another program") && error.contains(&address.to_string()), "{error}");
        assert!(runs(&["127.0.0.1:1".parse().unwrap()]).try_address(address).is_err());
        for held in [address, everywhere] {
            let told = runs(&[held]).try_address(address).unwrap();
            assert_eq!(told, format!("{address} is used by the hearth that runs (process 7)"));
        }
        assert!(RunningHearth::Forbidden.try_address(address).unwrap().contains("sudo hearth check"));
        let away = runs(&[]).try_address("192.0.2.1:1".parse().unwrap()).unwrap_err().to_string();
        assert!(away.contains("nothing can listen on 192.0.2.1:1"), "{away}");

        assert!(runs(&[]).busy_microphone("hw:1", "in use").unwrap().contains("process 7"));
        assert_eq!(runs(&[]).busy_microphone("hw:2", "in use").unwrap_err().to_string(), "hw:2: in use");
    }
}
