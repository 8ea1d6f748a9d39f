//! `gpu_pool:` — which devices run models.

use std::path::Path;

use serde::Deserialize;

use super::ConfigError;
use crate::domain::{DeviceName, DeviceNameError};

/// Whether this binary was built with CUDA.
pub const CUDA_BUILT: bool = cfg!(feature = "cuda");

const HOW_TO_BUILD: &str =
    "this build has no CUDA; build with 'cargo build --release --features cuda' (README, \"GPU\"), or use cpu";

/// What runs models.
#[derive(Clone, Debug)]
pub(super) struct DevicesConfig {
    /// At least one; none twice, but for fakes.
    pub(super) devices: Vec<DeviceName>,
    /// How many tasks run at once, however many devices there are.
    pub(super) max_concurrent: usize,
}

/// What is there to run on. A value, so that rules can be tested without the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Whether the binary has CUDA.
    pub cuda_built: bool,
    /// How many GPUs the driver shows.
    pub gpus: u32,
}

impl Machine {
    /// This machine and this build.
    pub fn detect() -> Self {
        Self { cuda_built: CUDA_BUILT, gpus: count_gpus(Path::new("/dev")) }
    }

    /// Whether `device` can be used; the reason when not.
    pub fn check(self, device: DeviceName) -> Result<(), String> {
        match device {
            DeviceName::Cuda(_) if !self.cuda_built => Err(HOW_TO_BUILD.to_owned()),
            DeviceName::Cuda(index) if index >= self.gpus => {
                Err(format!("{device} is not there: this machine shows {} GPUs", self.gpus))
            }
            DeviceName::Cpu | DeviceName::Fake | DeviceName::Cuda(_) => Ok(()),
        }
    }

    fn default_devices(self) -> Vec<DeviceName> {
        if self.cuda_built && self.gpus > 0 { (0..self.gpus).map(DeviceName::Cuda).collect() } else { vec![DeviceName::Cpu] }
    }
}

/// The driver makes one `nvidiaN` device file per GPU that this system (or container) may use.
fn count_gpus(devices: &Path) -> u32 {
    let Ok(entries) = std::fs::read_dir(devices) else { return 0 };
    let is_gpu =
        |name: &str| name.strip_prefix("nvidia").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_gpu)).count().try_into().unwrap_or(u32::MAX)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GpuPoolSection {
    enabled: Option<bool>,
    max_concurrent: Option<u32>,
    gpu_ids: Vec<u32>,
    devices: Option<Vec<ListedDevice>>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct ListedDevice(DeviceName);

impl TryFrom<String> for ListedDevice {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|reason| format!("gpu_pool.devices: {reason}"))
    }
}

impl GpuPoolSection {
    /// The devices to run on: the flag, then the variable, then `devices`, then `gpu_ids`, then whatever the machine has.
    pub(super) fn resolve(
        self,
        flag: Option<&str>,
        variable: Option<&str>,
        machine: Machine,
    ) -> Result<DevicesConfig, ConfigError> {
        if self.enabled == Some(false) {
            return Err(ConfigError::setting(
                "gpu_pool.enabled",
                "false leaves nothing to run on: remote providers are not supported by this build yet",
            ));
        }
        if self.max_concurrent == Some(0) {
            return Err(ConfigError::setting("gpu_pool.max_concurrent", "must be at least 1"));
        }
        let (setting, devices) = if let Some(text) = flag {
            (
                "--device",
                vec![text.parse().map_err(|reason: DeviceNameError| ConfigError::setting("--device", reason.to_string()))?],
            )
        } else if let Some(text) = variable {
            let parsed: Result<_, DeviceNameError> = text.split(',').map(|name| name.trim().parse()).collect();
            ("FRAMEWRIGHT_DEVICE", parsed.map_err(|reason| ConfigError::setting("FRAMEWRIGHT_DEVICE", reason.to_string()))?)
        } else if let Some(listed) = self.devices {
            ("gpu_pool.devices", listed.into_iter().map(|device| device.0).collect())
        } else if self.gpu_ids.is_empty() {
            ("gpu_pool", machine.default_devices())
        } else {
            ("gpu_pool.gpu_ids", self.gpu_ids.into_iter().map(DeviceName::Cuda).collect())
        };
        check_devices(setting, &devices, machine)?;
        let max_concurrent = self.max_concurrent.map_or(devices.len(), |most| most as usize);
        Ok(DevicesConfig { devices, max_concurrent })
    }
}

fn check_devices(setting: &str, devices: &[DeviceName], machine: Machine) -> Result<(), ConfigError> {
    if devices.is_empty() {
        return Err(ConfigError::setting(setting, "names no device"));
    }
    for (position, &device) in devices.iter().enumerate() {
        if device != DeviceName::Fake && devices[..position].contains(&device) {
            return Err(ConfigError::setting(setting, format!("{device} is named twice")));
        }
        machine.check(device).map_err(|reason| ConfigError::setting(setting, reason))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Machine = Machine { cuda_built: false, gpus: 4 };
    const WITH_CUDA: Machine = Machine { cuda_built: true, gpus: 2 };

    fn resolve(yaml: &str, flag: Option<&str>, variable: Option<&str>, machine: Machine) -> Result<String, String> {
        let section: GpuPoolSection = super::super::yaml::parse(Path::new("x"), yaml).map_err(|error| error.to_string())?;
        section
            .resolve(flag, variable, machine)
            .map(|resolved| resolved.devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn sources_have_an_order() {
        for (yaml, flag, variable, machine, expected) in [
            ("", None, None, PLAIN, "cpu"),
            ("", None, None, WITH_CUDA, "cuda:0 cuda:1"),
            ("", None, None, Machine { cuda_built: true, gpus: 0 }, "cpu"),
            ("gpu_ids: [1]", None, None, WITH_CUDA, "cuda:1"),
            ("gpu_ids: [0]\ndevices: [cpu]", None, None, PLAIN, "cpu"),
            ("devices: [cpu]", None, Some("cuda:0, cuda:1"), WITH_CUDA, "cuda:0 cuda:1"),
            ("devices: [fake, fake]", None, None, PLAIN, "fake fake"),
            ("devices: [cuda:0]", Some("cpu"), Some("cuda:1"), PLAIN, "cpu"),
        ] {
            assert_eq!(resolve(yaml, flag, variable, machine).as_deref(), Ok(expected), "{yaml} {flag:?} {variable:?}");
        }
    }

    #[test]
    fn refusals_name_the_setting() {
        for (yaml, flag, machine, words) in [
            ("gpu_ids: [0]", None, PLAIN, ["gpu_pool.gpu_ids", "--features cuda"]),
            ("gpu_ids: [2]", None, WITH_CUDA, ["gpu_pool.gpu_ids", "cuda:2 is not there"]),
            ("gpu_ids: [1, 1]", None, WITH_CUDA, ["gpu_pool.gpu_ids", "twice"]),
            ("devices: []", None, PLAIN, ["gpu_pool.devices", "no device"]),
            ("devices: [gpu]", None, PLAIN, ["gpu_pool.devices", "'gpu'"]),
            ("devices: [cpu, fake, cpu]", None, PLAIN, ["gpu_pool.devices", "cpu is named twice"]),
            ("enabled: false", None, PLAIN, ["gpu_pool.enabled", "remote"]),
            ("max_concurrent: 0", None, PLAIN, ["gpu_pool.max_concurrent", "at least 1"]),
            ("", Some("cuda:-1"), PLAIN, ["--device", "cuda:-1"]),
            ("", Some("cuda:+1"), WITH_CUDA, ["--device", "cuda:+1"]),
        ] {
            let message = resolve(yaml, flag, None, machine).unwrap_err();
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }

    #[test]
    fn gpus_are_counted_by_their_device_files() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps", "null"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(count_gpus(directory.path()), 2);
        assert_eq!(count_gpus(&directory.path().join("absent")), 0);
    }
}
