//! Processes, as Linux shows them in `/proc`.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// Kills at once, as the kernel does when memory runs out. A process that is gone already is as good.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The device workers that a server has started.
pub(crate) fn workers(server: u32) -> Vec<u32> {
    let mut workers: Vec<u32> = children(server).into_iter().filter(|pid| command_line(*pid).contains("device-worker")).collect();
    workers.sort_unstable();
    workers
}

/// Whether a process is there and is not waiting to be buried.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z")
}

/// Resident memory of a process, bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    kilobytes(&format!("/proc/{pid}/status"), "VmRSS:") * 1024
}

/// Resident memory of processes, shared pages divided among those that share them, bytes.
pub(crate) fn proportional_bytes(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:") * 1024).sum()
}

fn kilobytes(file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("Linux has /proc");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(state, of)| of == parent && state != "Z")).collect()
}

/// State and parent of a process. Its name, which may hold anything, stands in brackets before them.
fn stat(pid: u32) -> Option<(String, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn command_line(pid: u32) -> String {
    fs::read(format!("/proc/{pid}/cmdline")).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ")).unwrap_or_default()
}
