//! `framewright-device-worker`: started by framewright for a device that the server's own program does not link, such as a GPU.

use std::process::ExitCode;

fn main() -> ExitCode {
    framewright_device_worker::process::run()
}
