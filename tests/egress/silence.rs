//! A name service that never answers: the time that a request has holds for the look for an address too.

use std::sync::Arc;
use std::time::Duration;

use framewright::net::egress::{Egress, EgressPolicy};
use framewright::net::{FetchError, HeaderMap, Limits};
use tokio::time::Instant;

use crate::LIMITS;
use crate::names::Silence;

/// Time is not real here: it jumps to the next timer once nothing else can go on.
#[tokio::test(start_paused = true)]
async fn lookups_end_with_their_requests() {
    let egress = Egress::with_lookup(EgressPolicy::default(), Arc::new(Silence)).unwrap();
    let url = egress.policy().check("https://public.test/").unwrap();
    let limits = Limits { total: Duration::from_secs(3), ..LIMITS };
    let directory = tempfile::tempdir().unwrap();
    for request in 0..3 {
        let start = Instant::now();
        let error = match request {
            0 => egress.get(&url, &limits).await.map(|_| ()),
            1 => egress.get_to_file(&url, &limits, &directory.path().join("x")).await.map(|_| ()),
            _ => egress.post_json(&url, HeaderMap::new(), "{}".into(), &limits).await.map(|_| ()),
        };
        assert!(matches!(error, Err(FetchError::Slow { .. })), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }
    // A connection has a time of its own.
    let start = Instant::now();
    let error = egress.get(&url, &LIMITS).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
}
