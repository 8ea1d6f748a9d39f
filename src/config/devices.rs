//! `gpu_pool:` — which devices run models.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::number::{Positive, Whole};
use crate::domain::{DeviceName, DeviceNameError};

/// Whether the program that runs CUDA devices, `framewright-device-worker`, lies beside this one. This one never links CUDA.
fn has_cuda_worker() -> bool {
    std::env::current_exe().is_ok_and(|program| program.with_file_name("framewright-device-worker").is_file())
}

const HOW_TO_BUILD: &str = "CUDA devices need the program framewright-device-worker beside this one; build it with \
     'cargo build --release -p framewright-device-worker --features cuda' (README, \"GPU\"), or use cpu";

/// Each device is a process with a model in it.
const MOST_DEVICES: usize = 1024;
/// Tasks that share a device's evaluations, unless configured.
const DEFAULT_MAX_BATCH: u32 = 8;
/// How long a worker may make no progress, unless configured: far longer than any evaluation takes, far shorter than a night.
const DEFAULT_STALL_SECONDS: u64 = 300;
/// A step of a `fake` device, unless configured.
const DEFAULT_FAKE_STEP_MS: u64 = 20;

/// What runs models.
#[derive(Clone, Debug)]
pub(super) struct DevicesConfig {
    /// At least one; no GPU twice.
    pub(super) devices: Vec<DeviceName>,
    /// How many tasks run at once, however many devices there are.
    pub(super) max_concurrent: usize,
    /// How they run.
    pub(super) pool: PoolConfig,
}

/// How devices run tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// How many tasks may share a device's evaluations; 1 turns batching off.
    pub max_batch: u32,
    /// What a device's engine runs in.
    pub workers: Workers,
    /// A worker that makes no progress for this long is stopped, and its tasks run again elsewhere.
    pub stall: Duration,
    /// How `fake` devices behave.
    pub fake: FakeConfig,
}

/// What a device's engine runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workers {
    /// A process of its own: its crash is not the server's.
    #[default]
    Process,
    /// A thread of the server, for tests and debugging.
    Thread,
}

/// How `fake` devices behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeConfig {
    /// How long a step takes.
    pub step: Duration,
    /// How long loading a model takes.
    pub load: Duration,
    /// The memory that the device says it has; without: as much as anybody asks for.
    pub memory_bytes: Option<u64>,
}

/// What is there to run on. A value, so that rules can be tested without the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Whether there is a worker program with CUDA.
    pub cuda_built: bool,
    /// How many GPUs the driver shows.
    pub gpus: u32,
}

impl Machine {
    /// This machine and this build.
    pub fn detect() -> Self {
        Self { cuda_built: has_cuda_worker(), gpus: count_gpus(Path::new("/dev")) }
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
    max_concurrent: Option<Whole<1, 10_000>>,
    gpu_ids: Vec<u32>,
    devices: Option<Vec<ListedDevice>>,
    max_batch: Option<Whole<1, 64>>,
    workers: Workers,
    stall_seconds: Option<Whole<1, 86_400>>,
    fake: FakeSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FakeSection {
    step_ms: Option<Whole<0, 3_600_000>>,
    load_ms: Option<Whole<0, 3_600_000>>,
    memory_gb: Option<Positive>,
}

impl FakeSection {
    fn resolve(&self) -> FakeConfig {
        FakeConfig {
            step: Duration::from_millis(self.step_ms.map_or(DEFAULT_FAKE_STEP_MS, |step| step.0)),
            load: Duration::from_millis(self.load_ms.map_or(0, |load| load.0)),
            memory_bytes: self.memory_gb.map(|memory| memory.0.gigabytes_in_bytes()),
        }
    }
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
        let pool = PoolConfig {
            max_batch: self.max_batch.map_or(DEFAULT_MAX_BATCH, |most| most.0 as u32),
            workers: self.workers,
            stall: Duration::from_secs(self.stall_seconds.map_or(DEFAULT_STALL_SECONDS, |seconds| seconds.0)),
            fake: self.fake.resolve(),
        };
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
        // One running task a device, and its batch mates.
        let default_concurrent = devices.len().saturating_mul(pool.max_batch as usize);
        let max_concurrent = self.max_concurrent.map_or(default_concurrent, |most| most.0 as usize);
        Ok(DevicesConfig { devices, max_concurrent, pool })
    }
}

fn check_devices(setting: &str, devices: &[DeviceName], machine: Machine) -> Result<(), ConfigError> {
    if devices.is_empty() {
        return Err(ConfigError::setting(setting, "names no device"));
    }
    if devices.len() > MOST_DEVICES {
        return Err(ConfigError::setting(setting, format!("names {} devices; at most {MOST_DEVICES}", devices.len())));
    }
    for (position, &device) in devices.iter().enumerate() {
        // Several workers may share the processor, and fakes share nothing.
        if matches!(device, DeviceName::Cuda(_)) && devices[..position].contains(&device) {
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
            ("devices: [cpu, cpu, fake]", None, None, PLAIN, "cpu cpu fake"),
            ("", None, Some("cpu,cpu"), PLAIN, "cpu cpu"),
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
            ("devices: [cpu, cuda:0, cpu, cuda:0]", None, WITH_CUDA, ["gpu_pool.devices", "cuda:0 is named twice"]),
            ("enabled: false", None, PLAIN, ["gpu_pool.enabled", "remote"]),
            ("max_concurrent: 0", None, PLAIN, ["max_concurrent: must be", "1 to 10000"]),
            ("max_batch: 0", None, PLAIN, ["max_batch: must be", "1 to 64"]),
            ("stall_seconds: -1", None, PLAIN, ["stall_seconds: must be", "1 to 86400"]),
            ("workers: coroutine", None, PLAIN, ["workers", "process"]),
            ("fake: { step_ms: soon }", None, PLAIN, ["step_ms", "whole number"]),
            ("fake: { memory_gb: 0 }", None, PLAIN, ["memory_gb: must be above 0", ""]),
            ("fake: { speed: 1 }", None, PLAIN, ["speed", "step_ms"]),
            ("", Some("cuda:-1"), PLAIN, ["--device", "cuda:-1"]),
            ("", Some("cuda:+1"), WITH_CUDA, ["--device", "cuda:+1"]),
        ] {
            let message = resolve(yaml, flag, None, machine).unwrap_err();
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }

    #[test]
    fn the_pool_has_defaults_and_takes_what_is_written() {
        let pool = |yaml: &str| {
            let section: GpuPoolSection = super::super::yaml::parse(Path::new("x"), yaml).unwrap();
            let resolved = section.resolve(None, None, PLAIN).unwrap();
            (resolved.max_concurrent, resolved.pool)
        };
        let ms = Duration::from_millis;
        let fake = FakeConfig { step: ms(20), load: ms(0), memory_bytes: None };
        let default = PoolConfig { max_batch: 8, workers: Workers::Process, stall: Duration::from_mins(5), fake };
        assert_eq!(pool("devices: [fake, fake]"), (16, default.clone()));
        assert_eq!(pool("devices: [fake, fake]\nmax_concurrent: 3"), (3, default));
        let written = "max_batch: 1\nworkers: thread\nstall_seconds: 2\nfake: { step_ms: 0, load_ms: 5, memory_gb: 1.5 }";
        let fake = FakeConfig { step: ms(0), load: ms(5), memory_bytes: Some(1_500_000_000) };
        assert_eq!(
            pool(written),
            (1, PoolConfig { max_batch: 1, workers: Workers::Thread, stall: Duration::from_secs(2), fake })
        );
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
