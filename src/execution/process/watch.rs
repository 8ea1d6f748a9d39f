//! When a worker process is given up, and how soon the next one follows. Pure: time comes in.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use framewright_device_worker::vitals::Memory;

/// First pause before a restart.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// No device has more memory: 64 TiB.
const MOST_MEMORY_BYTES: u64 = 64 << 40;

/// Pauses between restarts: doubled with every death in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BackOff {
    deaths: u32,
}

impl BackOff {
    /// One more death; the pause before the next start.
    pub(super) fn died(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.deaths.min(16));
        self.deaths = self.deaths.saturating_add(1);
        pause.min(LONGEST_PAUSE)
    }

    /// The worker did something right.
    pub(super) fn succeeded(&mut self) {
        self.deaths = 0;
    }

    /// Deaths in a row.
    pub(super) fn deaths(self) -> u32 {
        self.deaths
    }
}

/// Watches one worker process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watchdog {
    stall: Duration,
    silence: Duration,
    /// Since when its device is being opened, until it is open.
    opening: Option<Instant>,
    heard: Instant,
    ticks: u64,
    progressed: Instant,
}

impl Watchdog {
    pub(super) fn new(now: Instant, stall: Duration, silence: Duration) -> Self {
        Self { stall, silence, opening: Some(now), heard: now, ticks: 0, progressed: now }
    }

    /// It said something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Its device is open.
    pub(super) fn opened(&mut self) {
        self.opening = None;
    }

    /// It said how far its device is.
    pub(super) fn ticks(&mut self, now: Instant, ticks: u64) {
        if ticks != self.ticks {
            self.ticks = ticks;
            self.progressed = now;
        }
    }

    /// Why to kill it, if so. `active`: it has something to do.
    pub(super) fn verdict(&mut self, now: Instant, active: bool) -> Option<String> {
        if !active {
            self.progressed = now;
        }
        if now.duration_since(self.heard) >= self.silence {
            return Some(format!("it said nothing for {} s", self.silence.as_secs_f64()));
        }
        // Nobody is killed for being slow sooner than for being silent.
        let most = self.stall.max(self.silence);
        if self.opening.is_some_and(|since| now.duration_since(since) >= most) {
            return Some(format!("its device did not open within {} s", most.as_secs_f64()));
        }
        let stalled = now.duration_since(self.progressed) >= self.stall;
        stalled.then(|| format!("it made no progress for {} s", self.stall.as_secs_f64()))
    }
}

/// Whether memory is as a device can have it.
pub(super) fn is_possible(memory: Memory) -> bool {
    memory.total_bytes <= MOST_MEMORY_BYTES && memory.free_bytes <= memory.total_bytes
}

/// How a process ended, in words.
pub(super) fn exit_in_words(status: ExitStatus) -> String {
    if let Some(signal) = status.signal() {
        let name = match signal {
            4 => " (SIGILL)",
            6 => " (SIGABRT)",
            7 => " (SIGBUS)",
            8 => " (SIGFPE)",
            9 => " (SIGKILL; the system does that when memory runs out)",
            11 => " (SIGSEGV)",
            15 => " (SIGTERM)",
            _ => "",
        };
        return format!("it was killed by signal {signal}{name}");
    }
    match status.code() {
        Some(101) => "it panicked".to_owned(),
        Some(code) => format!("it exited with status {code}"),
        None => "it ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let mut back_off = BackOff::default();
        let pauses: Vec<u128> = (0..10).map(|_| back_off.died().as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(back_off.deaths(), 10);
        back_off.succeeded();
        assert_eq!(back_off.died().as_millis(), 200);
    }

    #[test]
    fn silence_and_standstill_are_told_apart() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut dog = Watchdog::new(start, Duration::from_mins(1), Duration::from_secs(10));
        assert_eq!(dog.verdict(at(9), true), None);
        assert_eq!(dog.verdict(at(10), false).unwrap(), "it said nothing for 10 s");
        let mut dog = Watchdog::new(start, Duration::from_mins(1), Duration::from_secs(10));
        dog.opened();
        for second in 1..200 {
            dog.heard(at(second));
            dog.ticks(at(second), second.min(100));
            let verdict = dog.verdict(at(second), true);
            assert_eq!(verdict.is_some(), second >= 160, "{second} {verdict:?}");
        }
        assert_eq!(dog.verdict(at(200), false), None, "it has nothing to do");
        assert_eq!(dog.verdict(at(201), true), None, "and now begins");
    }

    #[test]
    fn a_device_that_does_not_open_is_given_up_however_lively_its_process_is() {
        let start = Instant::now();
        for (stall, silence, most) in [(60, 10, 60), (1, 10, 10)] {
            let mut dog = Watchdog::new(start, Duration::from_secs(stall), Duration::from_secs(silence));
            let mut open = dog;
            open.opened();
            for second in 1..=most {
                let now = start + Duration::from_secs(second);
                dog.heard(now);
                open.heard(now);
                let expected = (second == most).then(|| format!("its device did not open within {most} s"));
                assert_eq!(dog.verdict(now, false), expected, "{second}");
                assert_eq!(open.verdict(now, false), None);
            }
        }
    }

    #[test]
    fn lies_about_memory_are_seen() {
        let memory = |total_bytes, free_bytes| Memory { total_bytes, free_bytes };
        assert!(is_possible(memory(1 << 40, 1 << 40)));
        assert!(!is_possible(memory(1, 2)));
        assert!(!is_possible(memory(u64::MAX, 0)));
    }

    #[test]
    fn ends_have_words() {
        assert_eq!(exit_in_words(ExitStatus::from_raw(3 << 8)), "it exited with status 3");
        assert!(exit_in_words(ExitStatus::from_raw(9)).contains("SIGKILL"));
        assert_eq!(exit_in_words(ExitStatus::from_raw(101 << 8)), "it panicked");
    }
}
