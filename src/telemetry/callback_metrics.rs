//! Numbers of callbacks.

use prometheus::{GaugeVec, Histogram, IntCounterVec, IntGaugeVec};

use super::maker::{Maker, whole};
use super::metrics::MetricsError;
use super::readings::CallbackReading;
use crate::domain::CallbackOutcome;

/// Seconds that receivers take: they have fifteen.
const ANSWER_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

/// The numbers of callbacks.
pub(super) struct CallbackMetrics {
    tries: IntCounterVec,
    answer_seconds: Histogram,
    waiting: IntGaugeVec,
    overdue_seconds: GaugeVec,
}

impl CallbackMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        let tries = make.counters("framewright_callbacks_total", "Tries to deliver callbacks, by outcome", &["outcome"])?;
        for outcome in CallbackOutcome::ALL {
            tries.with_label_values(&[outcome.as_str()]).inc_by(0);
        }
        Ok(Self {
            tries,
            answer_seconds: make.histogram(
                "framewright_callback_duration_seconds",
                "Time until a receiver answered a callback, or it was clear that it does not",
                &ANSWER_BUCKETS,
            )?,
            waiting: make.gauges(
                "framewright_callbacks_waiting",
                "Callbacks of the database that are to be sent, or sent again; all servers of a database say the same",
                &[],
            )?,
            overdue_seconds: make.real_gauges(
                "framewright_callbacks_overdue_seconds",
                "Time since the first of the waiting callbacks was to be sent; 0 when none is due",
                &[],
            )?,
        })
    }

    pub(super) fn tried(&self, outcome: CallbackOutcome) {
        self.tries.with_label_values(&[outcome.as_str()]).inc();
    }

    pub(super) fn answered(&self, seconds: f64) {
        self.answer_seconds.observe(seconds);
    }

    /// Shows what waits. What is not known has no series.
    pub(super) fn take(&self, reading: Option<CallbackReading>) {
        self.waiting.reset();
        self.overdue_seconds.reset();
        if let Some(CallbackReading { waiting, overdue_ms }) = reading {
            self.waiting.with_label_values::<&str>(&[]).set(whole(waiting));
            self.overdue_seconds.with_label_values::<&str>(&[]).set(overdue_ms as f64 / 1e3);
        }
    }
}
