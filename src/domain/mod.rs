//! Plain data that the rest of the server speaks about. No I/O, no async, no clock: time comes in as integers (Unix milliseconds).

pub mod batch;
pub mod camera;
pub mod clock;
pub mod device;
pub mod digest;
pub mod event;
pub mod frame_rate;
pub mod ids;
pub mod image_request;
pub mod job;
pub mod model;
pub mod observer;
pub mod policy;
pub mod preview;
pub mod principal;
pub mod quota;
pub mod video_codec;

pub use batch::{BatchKey, rows};
pub use clock::{Clock, SystemClock, UnixMs};
pub use device::{DeviceName, DeviceNameError};
pub use digest::Sha256Digest;
pub use event::{EventId, JobEvent, JobEventKind};
pub use frame_rate::{FrameRate, FrameRateError};
pub use ids::{IdError, JobId, KeyId, ModelId, ProjectId, TaskId, UserId};
pub use image_request::ImageRequest;
pub use job::{Artifact, ErrorCode, Job, JobError, JobResult, JobState, Progress};
pub use model::{ModelDescription, ModelKind, ModelLimits};
pub use observer::{JobObserver, Unobserved, WeightsTier};
pub use policy::{Limits, ProjectPolicy, Quotas, TenantPolicies, TenantPolicy};
pub use preview::{PreviewDemand, PreviewWish};
pub use principal::Principal;
pub use quota::{Adjustment, CounterKey, Holder, Meter, QuotaRefusal, Reservation, Spent};
pub use video_codec::VideoCodec;
