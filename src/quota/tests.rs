//! Decisions over tables, and what holds for all of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::domain::film::tests::film;
use crate::domain::job_request::tests::remote;
use crate::domain::{CounterKey, ImageRequest, Limits, Meter, ModelId, QuotaRefusal, Quotas, RemoteRequest, RoutedRequest};

fn at(text: &str) -> UnixMs {
    UnixMs(text.parse::<Timestamp>().unwrap().as_millisecond())
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

fn request(width: u32, height: u32, num_images: u32) -> JobRequest {
    let request = ImageRequest {
        model: "demo-sdxl".parse().unwrap(),
        prompt: "a red square".to_owned(),
        negative_prompt: None,
        width,
        height,
        num_inference_steps: 8,
        guidance_scale: 5.0,
        seed: 7,
        sampler: None,
        num_images,
        init_image: None,
        strength: 1.0,
        mask: None,
    };
    request.into()
}

fn quotas(quotas: Quotas) -> TenantPolicy {
    TenantPolicy { quotas, limits: Limits::default() }
}

fn reserve_for(request: &JobRequest, user: &TenantPolicy, project: Option<&TenantPolicy>) -> Result<Vec<Reservation>, String> {
    let (anna, film): (UserId, ProjectId) = ("anna".parse().unwrap(), "film".parse().unwrap());
    let payers = Payers { user: (&anna, user), project: project.map(|policy| (&film, policy)) };
    reserve(request, payers, &berlin(), at("2026-11-20T14:00:00Z")).map_err(|error| error.to_string())
}

#[test]
fn a_job_counts_for_its_user_and_its_project_with_and_without_limits() {
    let user = quotas(Quotas { images_per_day: Some(100), gpu_seconds_per_day: Some(3600), ..Quotas::default() });
    let project = quotas(Quotas { storage_bytes: Some(5_000_000_000), ..Quotas::default() });
    let lines: Vec<String> = reserve_for(&request(64, 64, 3), &user, Some(&project))
        .unwrap()
        .into_iter()
        .map(|Reservation { key: CounterKey { holder, meter, window_start }, amount, limit, resets }| {
            let limit = limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
            let resets = resets.map_or_else(|| "never".to_owned(), |at| at.to_string());
            format!("{holder} {} {amount} of {limit} from {window_start} to {resets}", meter.as_str())
        })
        .collect();
    let day = "from 2026-11-19T23:00:00.000Z to 2026-11-20T23:00:00.000Z";
    let kept = "from 1970-01-01T00:00:00.000Z to never";
    assert_eq!(
        lines,
        [
            format!("user:anna images 3 of 100 {day}"),
            format!("user:anna gpu_ms 0 of 3600000 {day}"),
            format!("user:anna storage_bytes 0 of - {kept}"),
            format!("project:film images 3 of - {day}"),
            format!("project:film gpu_ms 0 of - {day}"),
            format!("project:film storage_bytes 0 of 5000000000 {kept}"),
        ]
    );
    assert_eq!(reserve_for(&request(64, 64, 1), &user, None).unwrap().len(), 3);
}

#[test]
fn sizes_are_compared_long_with_long_and_short_with_short() {
    let policy = quotas(Quotas { max_resolution: Some((1920, 1080)), ..Quotas::default() });
    for (width, height, refused) in [
        (1920, 1080, None),
        (1080, 1920, None),
        (1080, 1080, None),
        (1928, 1080, Some("width")),
        (1080, 1928, Some("height")),
        (1920, 1088, Some("height")),
        (1088, 1920, Some("width")),
        (1088, 1088, Some("height")),
        (4096, 4096, Some("width")),
    ] {
        let outcome = reserve_for(&request(width, height, 1), &policy, None);
        match refused {
            None => assert!(outcome.is_ok(), "{width}x{height}: {outcome:?}"),
            Some(field) => {
                let message = outcome.unwrap_err();
                assert!(
                    message.starts_with(&format!("{field}: {width}x{height} is larger than max_resolution, 1920x1080")),
                    "{message}"
                );
            }
        }
    }
}

#[test]
fn tiers_of_providers_are_compared_by_their_usual_sizes() {
    let policy = quotas(Quotas { max_resolution: Some((1366, 768)), ..Quotas::default() });
    let of = |frame: Option<&str>| {
        let request = RemoteRequest { frame: frame.map(|frame| frame.parse().unwrap()), ..remote("minimax") };
        reserve_for(&request.into(), &policy, None)
    };
    for allowed in [None, Some("16:9"), Some("720P"), Some("768P"), Some("768P 1:1"), Some("720P 9:16"), Some("768x1366")] {
        assert!(of(allowed).is_ok(), "{allowed:?}: {:?}", of(allowed));
    }
    for (frame, size) in [("1080P", "1920x1080"), ("4K", "3840x2160"), ("768P 21:9", "1792x768"), ("1080P 1:1", "1080x1080")] {
        let message = of(Some(frame)).unwrap_err();
        let expected = format!("resolution: {frame}, which is {size}, is larger than max_resolution, 1366x768");
        assert!(message.starts_with(&expected), "{message}");
    }
    assert!(of(Some("1920x1080")).unwrap_err().starts_with("width: "));
}

#[test]
fn a_routes_name_stands_for_its_targets_and_not_for_what_makes_their_first_pictures() {
    let routed = RoutedRequest::new("best".parse().unwrap(), vec![film(&[24]).into()]).unwrap();
    let of = |models: &[&str]| {
        let models = Some(models.iter().map(|name| name.parse::<ModelId>().unwrap()).collect());
        let policy = TenantPolicy { quotas: Quotas::default(), limits: Limits { models, ..Limits::default() } };
        reserve_for(&routed.clone().into(), &policy, None)
    };
    assert_eq!(of(&["best"]).unwrap_err(), "model: 'sdxl' is not one of limits.models: best");
    assert!(of(&["best", "sdxl"]).is_ok());
}

#[test]
fn what_no_quota_could_allow_is_forbidden_and_says_by_what() {
    let models = |names: &[&str]| Some(names.iter().map(|name| name.parse::<ModelId>().unwrap()).collect());
    let limits = |limits| TenantPolicy { quotas: Quotas::default(), limits };
    let providers = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    for (policy, expected) in [
        (
            quotas(Quotas { images_per_day: Some(3), ..Quotas::default() }),
            "num_images: 4 at once is more than images_per_day allows, 3",
        ),
        (
            quotas(Quotas { gpu_seconds_per_day: Some(0), ..Quotas::default() }),
            "num_images: gpu_seconds_per_day is 0, which allows no pictures",
        ),
        (quotas(Quotas { storage_bytes: Some(0), ..Quotas::default() }), "num_images: storage_gb is 0, which allows no pictures"),
        (
            limits(Limits { models: models(&["sdxl", "turbo"]), ..Limits::default() }),
            "model: 'demo-sdxl' is not one of limits.models: sdxl, turbo",
        ),
        (limits(Limits { models: models(&[]), ..Limits::default() }), "model: 'demo-sdxl' is not one of limits.models: none"),
        (
            limits(Limits { providers: providers(&["minimax"]), ..Limits::default() }),
            "model: 'demo-sdxl' runs on 'local', which is not one of limits.providers: minimax",
        ),
    ] {
        let request = request(64, 64, 4);
        assert_eq!(reserve_for(&request, &policy, None).unwrap_err(), expected);
        let by_project = reserve_for(&request, &TenantPolicy::default(), Some(&policy)).unwrap_err();
        assert!(by_project.contains(" of project 'film'"), "{by_project}");
    }
    let allowed = limits(Limits { models: models(&["demo-sdxl"]), providers: providers(&["local", "x"]), ..Limits::default() });
    assert!(reserve_for(&request(64, 64, 4), &allowed, Some(&allowed)).is_ok());
    let exactly = quotas(Quotas { images_per_day: Some(4), ..Quotas::default() });
    assert!(reserve_for(&request(64, 64, 4), &exactly, None).is_ok());
}

#[test]
fn a_film_counts_as_a_film() {
    let policy = quotas(Quotas { videos_per_day: Some(3), video_seconds_per_day: Some(60), ..Quotas::default() });
    let lines: Vec<String> = reserve_for(&film(&[24, 36]).into(), &policy, None)
        .unwrap()
        .into_iter()
        .map(|Reservation { key, amount, limit, .. }| format!("{} {amount} of {limit:?}", key.meter.as_str()))
        .collect();
    assert_eq!(lines, ["videos 1 of Some(3)", "video_ms 2500 of Some(60000)", "gpu_ms 0 of None", "storage_bytes 0 of None"]);
    let reserved = reserve_for(&film(&[24, 36]).into(), &policy, None).unwrap();
    let delta = |spent| -> Vec<(Meter, i64)> {
        settle(&reserved, &spent).into_iter().map(|adjustment| (adjustment.key.meter, adjustment.delta)).collect()
    };
    assert_eq!(delta(Spent { videos: 1, video_ms: 2500, gpu_ms: 9, ..Spent::default() }), [(Meter::GpuMs, 9)]);
    assert_eq!(delta(Spent::default()), [(Meter::Videos, -1), (Meter::VideoMs, -2500)]);
}

#[test]
fn what_no_quota_could_allow_a_film_is_forbidden() {
    let limits = |limits| TenantPolicy { quotas: Quotas::default(), limits };
    let models = |names: &[&str]| Some(names.iter().map(|name| name.parse::<ModelId>().unwrap()).collect());
    let local = Some(["local".to_owned()].into());
    // Two scenes of 256x256, 2 s at 24 frames a second, from the models svd and sdxl.
    let film: JobRequest = film(&[24, 24]).into();
    for (policy, expected) in [
        (limits(Limits { models: models(&["sdxl"]), ..Limits::default() }), "model: 'svd' is not one of limits.models: sdxl"),
        (limits(Limits { models: models(&["svd"]), ..Limits::default() }), "model: 'sdxl' is not one of limits.models: svd"),
        (
            limits(Limits { providers: Some(["x".to_owned()].into()), ..Limits::default() }),
            "model: 'svd' runs on 'local', which is not one of limits.providers: x",
        ),
        (
            limits(Limits { max_duration_seconds: Some(1.5), ..Limits::default() }),
            "duration: 2 s is more than limits.max_duration_seconds allows, 1.5",
        ),
        (
            limits(Limits { max_frames: Some(47), ..Limits::default() }),
            "duration: 48 frames are more than limits.max_frames allows, 47",
        ),
        (
            quotas(Quotas { max_resolution: Some((256, 128)), ..Quotas::default() }),
            "height: 256x256 is larger than max_resolution, 256x128 (long side with long, short with short)",
        ),
        (
            quotas(Quotas { videos_per_day: Some(0), ..Quotas::default() }),
            "scenes: the film takes 1, which is more than videos_per_day allows, 0",
        ),
        (
            quotas(Quotas { video_seconds_per_day: Some(1), ..Quotas::default() }),
            "scenes: the film takes 2, which is more than video_seconds_per_day allows, 1",
        ),
        (
            quotas(Quotas { gpu_seconds_per_day: Some(0), ..Quotas::default() }),
            "scenes: gpu_seconds_per_day is 0, which allows no films",
        ),
    ] {
        assert_eq!(reserve_for(&film, &policy, None).unwrap_err(), expected);
        let by_project = reserve_for(&film, &TenantPolicy::default(), Some(&policy)).unwrap_err();
        assert!(by_project.contains(" of project 'film'"), "{by_project}");
    }
    let exactly = TenantPolicy {
        quotas: Quotas {
            videos_per_day: Some(1),
            video_seconds_per_day: Some(2),
            images_per_day: Some(0),
            max_resolution: Some((256, 256)),
            ..Quotas::default()
        },
        limits: Limits {
            models: models(&["svd", "sdxl"]),
            providers: local,
            max_duration_seconds: Some(2.0),
            max_frames: Some(48),
            ..Limits::default()
        },
    };
    assert!(reserve_for(&film, &exactly, Some(&exactly)).is_ok(), "pictures within a film are none of their own");
}

#[test]
fn refusals_name_the_limit_the_usage_and_the_reset() {
    let refusal = |meter, holder, used, amount, limit, resets: Option<&str>| QuotaRefusal {
        reservation: Reservation {
            key: CounterKey { holder, meter, window_start: UnixMs(0) },
            amount,
            limit: Some(limit),
            resets: resets.map(at),
        },
        used,
    };
    let anna = || Holder::User("anna".parse().unwrap());
    let film = || Holder::Project("film".parse().unwrap());
    let midnight = Some("2026-11-20T23:00:00Z");
    for (refusal, wait, line) in [
        (
            refusal(Meter::Images, anna(), 98, 4, 100, midnight),
            Some(600),
            "images_per_day: 98 of 100 used, 4 needed; resets 2026-11-21T00:00+01:00",
        ),
        (
            refusal(Meter::GpuMs, film(), 3_600_300, 0, 3_600_000, midnight),
            Some(600),
            "gpu_seconds_per_day of project 'film': 3600.3 of 3600 used; resets 2026-11-21T00:00+01:00",
        ),
        (
            refusal(Meter::StorageBytes, anna(), 10_250_000_000, 0, 10_000_000_000, None),
            None,
            "storage_gb: 10.25 of 10 used; room comes back when results are removed",
        ),
        (
            refusal(Meter::CostMicros, anna(), 12_340_000, 1_000_000, 12_500_000, Some("2026-11-30T23:00:00Z")),
            Some(864_600),
            "cost_per_month: 12.34 of 12.5 used, 1 needed; resets 2026-12-01T00:00+01:00",
        ),
    ] {
        assert_eq!(explain(&refusal, &berlin()), line);
        assert_eq!(wait_seconds(&refusal, at("2026-11-20T22:50:00Z")), wait, "{line}");
    }
    let over = refusal(Meter::Images, anna(), 1, 1, 1, midnight);
    assert_eq!(wait_seconds(&over, at("2026-11-20T22:59:59.999Z")), Some(1));
    assert_eq!(wait_seconds(&over, at("2027-01-01T00:00:00Z")), Some(1), "a window that has ended may be tried at once");
}

#[test]
fn a_report_lists_every_meter_in_order() {
    let policy = quotas(Quotas { images_per_day: Some(5), cost_micros_per_month: Some(20_000_000), ..Quotas::default() });
    let holder = Holder::User("anna".parse().unwrap());
    let meters = meters(&holder, &policy, &berlin(), at("2026-11-20T14:00:00Z"));
    assert_eq!(meters.iter().map(|meter| meter.key.meter).collect::<Vec<_>>(), Meter::ALL);
    assert!(meters.is_sorted_by(|a, b| a.key < b.key) && meters.iter().all(|meter| meter.amount == 0));
    let cost = meters.iter().find(|meter| meter.key.meter == Meter::CostMicros).unwrap();
    assert_eq!((cost.key.window_start, cost.resets), (at("2026-10-31T23:00:00Z"), Some(at("2026-11-30T23:00:00Z"))));
    assert_eq!(cost.limit.map(|limit| in_units(Meter::CostMicros, limit)), Some(20.0));
    // The same counters as a job's.
    let reserved = reserve_for(&request(64, 64, 1), &policy, None).unwrap();
    assert!(reserved.iter().all(|reservation| meters.iter().any(|meter| meter.key == reservation.key)));
}

/// A limit that leaves room for every request of these properties, or none.
fn roomy() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(8_u64..1_000_000_000_000)
}

prop_compose! {
    fn any_policy()(
        images_per_day in roomy(), gpu_seconds_per_day in roomy(), storage_bytes in roomy(), videos_per_day in roomy(),
        cost_micros_per_month in roomy(),
    ) -> TenantPolicy {
        quotas(Quotas { images_per_day, videos_per_day, gpu_seconds_per_day, cost_micros_per_month, storage_bytes, ..Quotas::default() })
    }
}

/// A counter-keeping store in miniature.
#[derive(Default)]
struct Ledger(BTreeMap<CounterKey, i64>);

impl Ledger {
    fn take(&mut self, reservations: &[Reservation]) {
        for reservation in reservations {
            *self.0.entry(reservation.key.clone()).or_default() += reservation.amount;
        }
    }

    fn adjust(&mut self, adjustments: &[Adjustment]) {
        for adjustment in adjustments {
            *self.0.entry(adjustment.key.clone()).or_default() += adjustment.delta;
        }
    }

    fn total(&self, meter: Meter, holder: &Holder) -> i64 {
        self.0.iter().filter(|(key, _)| key.meter == meter && key.holder == *holder).map(|(_, amount)| amount).sum()
    }
}

proptest! {
    #[test]
    fn ledgers_add_up(
        user in any_policy(),
        project in prop::option::of(any_policy()),
        // Pictures asked, share delivered, milliseconds, bytes, start of the job within a year.
        jobs in prop::collection::vec((1_u32..=8, 0_u32..=8, 0_i64..100_000, 0_i64..10_000_000, 0_i64..31_536_000_000), 1..12),
    ) {
        let (anna, film): (UserId, ProjectId) = ("anna".parse().unwrap(), "film".parse().unwrap());
        let payers = Payers { user: (&anna, &user), project: project.as_ref().map(|policy| (&film, policy)) };
        let start = at("2026-01-01T00:00:00Z").0;
        let mut ledger = Ledger::default();
        let mut open = Vec::new();
        let mut expected = Spent::default();
        for (pictures, delivered, gpu_ms, storage_bytes, offset) in jobs {
            let reservations = reserve(&request(64, 64, pictures), payers, &berlin(), UnixMs(start + offset)).unwrap();
            prop_assert!(reservations.is_sorted_by(|a, b| a.key < b.key), "sorted, none twice");
            prop_assert_eq!(reservations.len(), if project.is_some() { 6 } else { 3 });
            ledger.take(&reservations);
            prop_assert!(ledger.0.values().all(|amount| *amount >= 0));
            let spent = Spent { images: i64::from(delivered.min(pictures)), gpu_ms, storage_bytes, ..Spent::default() };
            open.push((reservations, spent));
        }
        for (reservations, spent) in open {
            expected.images += spent.images;
            expected.gpu_ms += spent.gpu_ms;
            expected.storage_bytes += spent.storage_bytes;
            let adjustments = settle(&reservations, &spent);
            prop_assert!(adjustments.is_sorted_by(|a, b| a.key < b.key));
            ledger.adjust(&adjustments);
            prop_assert!(ledger.0.values().all(|amount| *amount >= 0), "a counter went below 0");
        }
        let mut holders = vec![Holder::User(anna.clone())];
        holders.extend(project.is_some().then(|| Holder::Project(film.clone())));
        for holder in holders {
            prop_assert_eq!(ledger.total(Meter::Images, &holder), expected.images);
            prop_assert_eq!(ledger.total(Meter::GpuMs, &holder), expected.gpu_ms);
            prop_assert_eq!(ledger.total(Meter::StorageBytes, &holder), expected.storage_bytes);
        }
    }

    #[test]
    fn a_job_that_took_nothing_leaves_no_trace(policy in any_policy(), pictures in 1_u32..=8, spent in (-5_i64..=0, -5_i64..=0, -5_i64..=0)) {
        let reservations = reserve_for(&request(64, 64, pictures), &policy, Some(&policy)).unwrap();
        let mut ledger = Ledger::default();
        ledger.take(&reservations);
        // Less than nothing counts as nothing.
        ledger.adjust(&settle(&reservations, &Spent { images: spent.0, gpu_ms: spent.1, storage_bytes: spent.2, ..Spent::default() }));
        prop_assert!(ledger.0.values().all(|amount| *amount == 0), "{:?}", ledger.0);
    }
}
