//! Devices by name.

use std::fmt;
use std::str::FromStr;

/// A device, as `devices: [...]` in the configuration and `--device` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by its CUDA index.
    Cuda(u32),
    /// Computes nothing: test pictures at a set pace, for tests of clients and of load.
    Fake,
}

/// A text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a device; write cpu, cuda:N (cuda:0 is the first GPU) or fake")]
pub struct DeviceNameError(String);

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Fake => f.write_str("fake"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = DeviceNameError;
    fn from_str(text: &str) -> Result<Self, DeviceNameError> {
        let index = |digits: &str| {
            let plain = digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain).map(Self::Cuda)
        };
        match text {
            "cpu" => Some(Self::Cpu),
            "fake" => Some(Self::Fake),
            _ => text.strip_prefix("cuda:").and_then(index),
        }
        .ok_or_else(|| DeviceNameError(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["cpu", "fake", "cuda:0", "cuda:17"] {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
        for text in ["", "CPU", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda:1 ", "cuda:9999999999", "gpu"] {
            let error = text.parse::<DeviceName>().unwrap_err().to_string();
            assert!(error.contains("cuda:N"), "{error}");
        }
    }
}
