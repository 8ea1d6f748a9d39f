//! How busy the machine's processors are.

/// Time since boot over all processors, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BusyTime {
    busy: u64,
    total: u64,
}

impl BusyTime {
    /// `None` where the system does not say.
    pub(super) fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// The line `cpu user nice system idle iowait irq softirq steal …`; what comes after is part of user and nice.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let times: Vec<u64> = line.split_ascii_whitespace().take(8).map(|time| time.parse().ok()).collect::<Option<_>>()?;
        let total = times.iter().sum();
        let idle = times.get(3)? + times.get(4)?;
        Some(Self { busy: total - idle, total })
    }

    /// The busy share since an earlier moment; `None` when no time has passed.
    pub(super) fn share_since(self, before: Self) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)?;
        Some((self.busy.saturating_sub(before.busy) as f64 / total as f64).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_time_is_not_busy() {
        let before = BusyTime::parse("cpu  10 0 10 70 10 0 0 0 5 5\ncpu0 1 2\n").unwrap();
        let after = BusyTime::parse("cpu  40 0 10 130 20 0 0 0 5 5\n").unwrap();
        assert_eq!(before, BusyTime { busy: 20, total: 100 });
        assert_eq!(after.share_since(before), Some(0.3));
        assert_eq!(after.share_since(after), None);
        assert_eq!(BusyTime::parse("cpu0 1 2"), None);
        assert_eq!(BusyTime::parse("cpu  1 2 x"), None);
    }
}
