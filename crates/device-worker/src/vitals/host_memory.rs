//! How much memory the machine has left, and how much of that this process may take.

use std::fs;
use std::path::{Path, PathBuf};

use super::Memory;

/// Bytes that a new program could take without swapping, within what the control groups of this process allow; `None` where the system
/// does not say.
pub fn available_bytes() -> Option<u64> {
    memory().map(|memory| memory.free_bytes)
}

/// The machine's memory, within what the control groups of this process allow.
pub fn memory() -> Option<Memory> {
    let machine = parse(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_directories(&groups, Path::new("/sys/fs/cgroup")).into_iter().filter_map(|directory| limit_of(&directory));
    Some(limits.fold(machine, |memory, limit| Memory {
        total_bytes: memory.total_bytes.min(limit.total_bytes),
        free_bytes: memory.free_bytes.min(limit.free_bytes),
    }))
}

fn parse(meminfo: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { total_bytes: bytes("MemTotal:")?, free_bytes: bytes("MemAvailable:")? })
}

/// The directories of the groups that limit this process, of both versions, from its own up to the root. Inside a container its own
/// group may be mounted as the root, so that the path of the host is not there; the root is looked at in any case.
fn group_directories(groups: &str, mount: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let root = match controllers {
            "" => mount.to_owned(),
            controllers if controllers.split(',').any(|controller| controller == "memory") => mount.join("memory"),
            _ => continue,
        };
        // A group of another namespace is shown with dots; nothing below the root is ours then.
        let own = Path::new(path.trim_start_matches('/'));
        let is_below = own.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let own = if is_below { own } else { Path::new("") };
        directories.extend(own.ancestors().map(|part| root.join(part)));
    }
    directories
}

/// What a group's limit leaves; `None` where there is none. Cached files count as free: the kernel drops them first.
fn limit_of(directory: &Path) -> Option<Memory> {
    let number = |name: &str| fs::read_to_string(directory.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit, used) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?),
        None => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?),
    };
    let statistics = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
    let cached = ["inactive_file ", "total_inactive_file "]
        .iter()
        .find_map(|name| statistics.lines().find_map(|line| line.strip_prefix(name)))
        .and_then(|value| value.trim().parse::<u64>().ok())
        .unwrap_or(0);
    Some(Memory { total_bytes: limit, free_bytes: limit.saturating_sub(used.saturating_sub(cached)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kilobytes() {
        let memory = Memory { total_bytes: 5 << 10, free_bytes: 1 << 20 };
        assert_eq!(parse("MemTotal:  5 kB\nMemAvailable:   1024 kB\n"), Some(memory));
        assert_eq!(parse("MemTotal:  5 kB\n"), None);
        assert_eq!(parse("MemTotal:  5 kB\nMemAvailable: lots kB\n"), None);
    }

    #[test]
    fn groups_are_looked_at_up_to_the_root() {
        let found = |groups: &str| {
            let directories = group_directories(groups, Path::new("/m"));
            directories.iter().map(|path| path.display().to_string().trim_end_matches('/').to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("0::/a/b\n"), ["/m/a/b", "/m/a", "/m"]);
        assert_eq!(found("0::/\n"), ["/m"]);
        assert_eq!(found("0::/../other\n"), ["/m"]);
        assert_eq!(found("5:cpu,cpuacct:/x\n4:memory:/x\n"), ["/m/memory/x", "/m/memory"]);
        assert_eq!(found("nonsense"), [""; 0]);
    }

    #[test]
    fn a_limit_leaves_what_is_not_used_and_what_is_cached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(limit_of(path), None);
        fs::write(path.join("memory.max"), "1000\n").unwrap();
        fs::write(path.join("memory.current"), "700\n").unwrap();
        assert_eq!(limit_of(path), Some(Memory { total_bytes: 1000, free_bytes: 300 }));
        fs::write(path.join("memory.stat"), "anon 5\ninactive_file 200\n").unwrap();
        assert_eq!(limit_of(path), Some(Memory { total_bytes: 1000, free_bytes: 500 }));
        fs::write(path.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit_of(path), None);
        fs::write(path.join("memory.limit_in_bytes"), "2000").unwrap();
        fs::write(path.join("memory.usage_in_bytes"), "500").unwrap();
        assert_eq!(limit_of(path).unwrap().free_bytes, 1700);
    }
}
