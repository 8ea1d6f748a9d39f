//! Plain data that the rest of the server speaks about. No I/O, no async, no clock: time comes in as integers (Unix milliseconds).

pub mod batch;
pub mod callback;
pub mod camera;
pub mod clock;
pub mod device;
pub mod digest;
pub mod event;
pub mod file_id;
pub mod film;
pub mod frame;
pub mod frame_rate;
pub mod ids;
pub mod image_request;
pub mod job;
pub mod job_request;
pub mod model;
pub mod money;
pub mod networks;
pub mod observer;
pub mod plan;
pub mod policy;
pub mod preview;
pub mod principal;
pub mod provider_settings;
pub mod quota;
pub mod remote_request;
pub mod route;
pub mod video_codec;

pub use batch::{BatchKey, rows};
pub use callback::{Callback, CallbackEvent, CallbackFormat, DeliveryId};
pub use clock::{Clock, SystemClock, UnixMs};
pub use device::{DeviceName, DeviceNameError};
pub use digest::Sha256Digest;
pub use event::{EventId, JobEvent, JobEventKind, TaskStep};
pub use file_id::FileId;
pub use film::FilmRequest;
pub use frame::{Frame, FrameError, PixelSize, Ratio, Tier};
pub use frame_rate::{FrameRate, FrameRateError};
pub use ids::{AccountKeyId, CallId, IdError, JobId, KeyId, ModelId, ProjectId, ProviderId, TaskId, UserId};
pub use image_request::ImageRequest;
pub use job::{Artifact, ErrorCode, Job, JobError, JobResult, JobState, Progress, VideoFacts};
pub use job_request::{JobKind, JobRequest, JobRequestError};
pub use model::{Inpainting, ModelDescription, ModelKind, ModelLimits, VideoLimits};
pub use money::{Micros, MicrosError};
pub use networks::{InstalledNetworks, NetworkIdentity};
pub use observer::{JobObserver, Unobserved, WeightsTier};
pub use policy::{Limits, ProjectPolicy, Quotas, TenantPolicies, TenantPolicy};
pub use preview::{PreviewDemand, PreviewWish};
pub use principal::Principal;
pub use provider_settings::{
    AccountKey, KindSetting, OfferedName, PollSettings, Price, ProviderEntry, ProviderKind, ProviderSettings,
};
pub use quota::{Adjustment, CounterKey, Holder, Meter, QuotaRefusal, Reservation, Spent};
pub use remote_request::{PictureRole, RemoteOptions, RemotePicture, RemoteRequest};
pub use route::RoutedRequest;
pub use video_codec::VideoCodec;
