//! What is read when somebody asks for the metrics, because it stands at some value rather than happens.

/// The queue and the devices at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// What waits; several may be of one priority.
    pub queue: Vec<QueueReading>,
    /// Every device.
    pub devices: Vec<DeviceReading>,
}

/// Waiting tasks of a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueReading {
    /// The priority.
    pub priority: i32,
    /// How many.
    pub tasks: u64,
    /// Milliseconds since the oldest was accepted.
    pub oldest_age_ms: i64,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceReading {
    /// Its name.
    pub name: String,
    /// It is ready for tasks: its worker runs.
    pub is_up: bool,
    /// Jobs that it runs.
    pub jobs: u64,
    /// Its memory, where it is known.
    pub memory: Option<MemoryReading>,
    /// Busy share of its last second, 0…1, where it is known.
    pub utilization: Option<f64>,
    /// How often its worker was started again, ever.
    pub restarts: u64,
}

/// A device's memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReading {
    /// In all.
    pub total_bytes: u64,
    /// Free.
    pub free_bytes: u64,
}
