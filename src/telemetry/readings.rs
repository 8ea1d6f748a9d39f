//! What is read when somebody asks for the metrics, because it stands at some value rather than happens.

/// The queue, the devices, the providers and the callbacks at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// What waits; several may be of one priority.
    pub queue: Vec<QueueReading>,
    /// Every device.
    pub devices: Vec<DeviceReading>,
    /// The providers.
    pub providers: ProviderReadings,
    /// Every target of every route.
    pub routes: Vec<RouteReading>,
    /// What waits of the callbacks, where it is known.
    pub callbacks: Option<CallbackReading>,
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

/// The providers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderReadings {
    /// Each that the settings have, or that runs tasks though they do not have it any more.
    pub each: Vec<ProviderReading>,
    /// The words of the classes of their failures.
    pub failure_classes: Vec<&'static str>,
    /// The currency that they are paid in, a code of three letters.
    pub currency: String,
}

/// A provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderReading {
    /// Its name.
    pub name: String,
    /// Every state, and whether it is in that.
    pub health: Vec<(&'static str, bool)>,
    /// Every state of keys, and how many of its keys are in that.
    pub keys: Vec<(&'static str, u64)>,
    /// Its keys by their names, and whether each can be used at the moment.
    pub key_usable: Vec<(String, bool)>,
    /// Tasks that hold a key.
    pub tasks_in_flight: u64,
    /// Most tasks that may hold one, where there is a bound.
    pub tasks_in_flight_limit: Option<u64>,
    /// Tasks that wait for it.
    pub tasks_waiting: u64,
}

/// A target of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteReading {
    /// The route's name.
    pub route: String,
    /// Whose model; none: this server's.
    pub provider: Option<String>,
    /// The model, by the name that lists show.
    pub model: String,
}

/// Callbacks that are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackReading {
    /// How many.
    pub waiting: u64,
    /// Milliseconds since the first of them was to be sent; 0 when none is due.
    pub overdue_ms: i64,
}
