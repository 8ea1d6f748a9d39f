//! How much memory the machine has left.

/// Bytes that a new program could take without swapping; `None` where the system does not say.
pub fn available_bytes() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kilobytes() {
        assert_eq!(parse("MemTotal:  5 kB\nMemAvailable:   1024 kB\n"), Some(1 << 20));
        assert_eq!(parse("MemTotal:  5 kB\n"), None);
        assert_eq!(parse("MemAvailable: lots kB\n"), None);
    }
}
