//! The device with the real engine on the CPU.

mod clips;
mod pictures;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use framewright_engine::ops::{KernelPath, Precision};

use super::*;
use crate::task::TaskOutput;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo-sdxl")
}

fn device_with(free_bytes: impl Fn() -> Option<u64> + 'static, max_batch_rows: usize) -> EngineDevice {
    let ops = Ops::cpu(Precision::F32, Some(KernelPath::Gemm)).unwrap();
    let options = EngineOptions { unload_after_task: false, max_batch_rows, packed: None };
    EngineDevice::new(ops, Box::new(free_bytes), options, Pulse::default())
}

fn device() -> EngineDevice {
    device_with(|| None, 16)
}

fn files(directory: PathBuf, fingerprint: u64) -> ModelFiles {
    ModelFiles { name: "demo-sdxl".to_owned(), directory, fingerprint }
}

fn pixels(output: &TaskOutput) -> Vec<Vec<u8>> {
    output.pictures.iter().map(|picture| picture.read().unwrap().bytes.clone()).collect()
}

/// Runs until nothing is active.
fn finish(device: &mut EngineDevice, ended: &mut BTreeMap<TaskNumber, Result<TaskOutput, Failure>>) {
    while device.active() > 0 {
        ended.extend(device.advance(&mut |_, _| {}));
    }
}

fn alone(task: Task) -> TaskOutput {
    let mut device = device();
    device.begin(TaskNumber(0), task, &mut |_, _| {}).unwrap();
    let mut ended = BTreeMap::new();
    finish(&mut device, &mut ended);
    ended.remove(&TaskNumber(0)).unwrap().unwrap()
}
