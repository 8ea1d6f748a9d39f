//! `framewright device-worker`: one device in a process of its own, under a server that supervises it.

use std::process::ExitCode;

use clap::Args;

/// Flags of `device-worker`. Everything else comes over standard input, which is the server's socket.
#[derive(Args, Debug)]
pub(super) struct DeviceWorkerArguments {
    /// The device, for whoever looks at the list of processes
    #[arg(long, value_name = "DEVICE")]
    device: String,
}

/// Runs until the server closes the stream.
pub(super) fn run(arguments: &DeviceWorkerArguments) -> ExitCode {
    let _ = &arguments.device;
    framewright_device_worker::process::run()
}
