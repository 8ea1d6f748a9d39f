//! The services, keys over a store in memory: the adapters have a conformance suite of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use secrecy::ExposeSecret;

use super::*;
use crate::domain::{Clock, KeyId, Limits, Principal, ProjectId, ProjectPolicy, TenantPolicies, TenantPolicy, UnixMs, UserId};

#[derive(Debug, Default)]
struct Memory(Mutex<Vec<(KeyRecord, [u8; 32])>>);

#[async_trait]
impl KeyStore for Memory {
    async fn insert(&self, record: &KeyRecord, key_sha256: &[u8; 32]) -> Result<(), KeyStoreError> {
        self.0.lock().push((record.clone(), *key_sha256));
        Ok(())
    }

    async fn find(&self, key_sha256: &[u8; 32]) -> Result<Option<(KeyRecord, [u8; 32])>, KeyStoreError> {
        Ok(self.0.lock().iter().find(|(_, sha256)| sha256 == key_sha256).cloned())
    }

    async fn list(&self, user: Option<&UserId>) -> Result<Vec<KeyRecord>, KeyStoreError> {
        let keys = self.0.lock();
        Ok(keys.iter().filter(|(key, _)| user.is_none_or(|user| key.user == *user)).map(|(key, _)| key.clone()).collect())
    }

    async fn any(&self) -> Result<bool, KeyStoreError> {
        Ok(!self.0.lock().is_empty())
    }

    async fn revoke(&self, id: KeyId, now: UnixMs) -> Result<Option<KeyRecord>, KeyStoreError> {
        let mut keys = self.0.lock();
        let Some((key, _)) = keys.iter_mut().find(|(key, _)| key.id == id) else { return Ok(None) };
        key.revoked.get_or_insert(now);
        Ok(Some(key.clone()))
    }
}

/// A store that is down.
#[derive(Debug)]
struct Down;

#[async_trait]
impl KeyStore for Down {
    async fn insert(&self, _: &KeyRecord, _: &[u8; 32]) -> Result<(), KeyStoreError> {
        Err(KeyStoreError("no connection".into()))
    }

    async fn find(&self, _: &[u8; 32]) -> Result<Option<(KeyRecord, [u8; 32])>, KeyStoreError> {
        Err(KeyStoreError("no connection".into()))
    }

    async fn list(&self, _: Option<&UserId>) -> Result<Vec<KeyRecord>, KeyStoreError> {
        Err(KeyStoreError("no connection".into()))
    }

    async fn any(&self) -> Result<bool, KeyStoreError> {
        Err(KeyStoreError("no connection".into()))
    }

    async fn revoke(&self, _: KeyId, _: UnixMs) -> Result<Option<KeyRecord>, KeyStoreError> {
        Err(KeyStoreError("no connection".into()))
    }
}

#[derive(Debug, Default)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::Relaxed))
    }
}

const DAY_MS: i64 = 86_400_000;

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn project(name: &str) -> ProjectId {
    name.parse().unwrap()
}

/// Two services, as two processes have them, over one store.
fn services() -> (KeyService, KeyService, Arc<Hands>) {
    let (store, clock) = (Arc::new(Memory::default()), Arc::new(Hands::default()));
    (KeyService::new(store.clone(), clock.clone()), KeyService::new(store, clock.clone()), clock)
}

#[tokio::test]
async fn a_key_works_until_it_is_revoked_from_another_process() {
    let (server, command_line, clock) = services();
    assert!(!server.any().await.unwrap());
    let (record, key) = command_line.create(NewKey::for_user(user("anna"))).await.unwrap();
    let principal = server.authenticate(key.expose_secret()).await.unwrap();
    assert_eq!(principal, Principal { user: user("anna"), project: None, admin: false, key: Some(record.id) });

    clock.0.store(5, Ordering::Relaxed);
    let revoked = command_line.revoke(record.id).await.unwrap().unwrap();
    assert_eq!(revoked.revoked, Some(UnixMs(5)));
    assert!(matches!(server.authenticate(key.expose_secret()).await, Err(AuthenticationError::Invalid)));
    assert!(command_line.revoke(KeyId::generate()).await.unwrap().is_none());
    assert!(server.any().await.unwrap(), "a revoked key still means that keys were made");
    let listed = server.list(Some(&user("anna"))).await.unwrap();
    assert!(listed.len() == 1 && key.expose_secret().starts_with(&listed[0].prefix));
    assert!(server.list(Some(&user("ben"))).await.unwrap().is_empty());
}

#[tokio::test]
async fn scopes_become_principals() {
    let (keys, _, _) = services();
    for (new, of_project, admin) in [
        (NewKey::for_user(user("anna")), None, false),
        (NewKey::for_project(user("anna"), project("film")), Some(project("film")), false),
        (NewKey::for_administrator(user("anna")), None, true),
    ] {
        let (record, key) = keys.create(new).await.unwrap();
        let expected = Principal { user: user("anna"), project: of_project, admin, key: Some(record.id) };
        assert_eq!(keys.authenticate(key.expose_secret()).await.unwrap(), expected);
    }
}

#[test]
fn a_project_is_named_by_a_projects_key_and_no_other() {
    let of = |scope, project: Option<&str>| NewKey::of(user("anna"), scope, project.map(|name| name.parse().unwrap()));
    assert_eq!(of(KeyScope::User, None), Ok(NewKey::for_user(user("anna"))));
    assert_eq!(of(KeyScope::Admin, None), Ok(NewKey::for_administrator(user("anna"))));
    assert_eq!(of(KeyScope::Project, Some("film")), Ok(NewKey::for_project(user("anna"), project("film"))));
    assert_eq!(of(KeyScope::Project, None), Err(NewKeyError::ProjectMissing));
    for scope in [KeyScope::User, KeyScope::Admin] {
        let message = of(scope, Some("film")).unwrap_err().to_string();
        assert!(message.starts_with("project: ") && message.contains(scope.as_str()), "{message}");
    }
}

#[tokio::test]
async fn a_key_expires_by_the_clock() {
    let (keys, _, clock) = services();
    clock.0.store(DAY_MS, Ordering::Relaxed);
    let expires = keys.after_days(2);
    assert_eq!(expires, UnixMs(3 * DAY_MS));
    let (record, key) = keys.create(NewKey::for_user(user("anna")).until(Some(expires))).await.unwrap();
    assert_eq!((record.created, record.expires), (UnixMs(DAY_MS), Some(expires)));
    for (now, valid) in [(DAY_MS, true), (expires.0 - 1, true), (expires.0, false), (i64::MAX, false), (DAY_MS, true)] {
        clock.0.store(now, Ordering::Relaxed);
        assert_eq!(keys.authenticate(key.expose_secret()).await.is_ok(), valid, "{now}");
    }
    clock.0.store(i64::MAX, Ordering::Relaxed);
    assert_eq!(keys.after_days(u32::MAX), UnixMs(i64::MAX));
}

#[tokio::test]
async fn other_texts_are_refused_and_a_store_that_is_down_is_not_a_wrong_key() {
    let (keys, _, clock) = services();
    assert!(matches!(keys.authenticate("").await, Err(AuthenticationError::Missing)));
    let unknown = format!("fw_{}", "A".repeat(43));
    for text in ["x", &unknown, &"fw_".repeat(1 << 20)] {
        assert!(matches!(keys.authenticate(text).await, Err(AuthenticationError::Invalid)));
    }
    let down = KeyService::new(Arc::new(Down), clock);
    assert!(matches!(down.authenticate(&unknown).await, Err(AuthenticationError::Store(_))));
    assert!(matches!(down.authenticate("x").await, Err(AuthenticationError::Invalid)), "nonsense does not reach the store");
}

fn policies() -> TenantPolicies {
    let with = |limits| TenantPolicy { limits, ..TenantPolicy::default() };
    let mut policies = TenantPolicies {
        default_user: with(Limits { requests_per_minute: Some(2), ..Limits::default() }),
        ..TenantPolicies::default()
    };
    let anna = Limits { weight: Some(2.0), max_concurrent_jobs: Some(3), priority: 5, ..Limits::default() };
    policies.users.insert(user("anna"), with(anna));
    let film = Limits {
        weight: Some(0.5),
        max_concurrent_jobs: Some(4),
        priority: -20,
        requests_per_minute: Some(1),
        ..Limits::default()
    };
    policies.projects.insert(project("film"), ProjectPolicy { policy: with(film), ..ProjectPolicy::default() });
    policies
}

#[test]
fn policies_answer_for_users_with_a_file_without_one_and_for_projects() {
    let tenants = Tenants::new(policies(), TimeZone::UTC, Arc::new(Hands::default()));
    let (anna, ben, film, absent) = (user("anna"), user("ben"), project("film"), project("absent"));
    assert_eq!((tenants.user_weight(&anna), tenants.user_weight(&ben)), (2.0, 1.0));
    assert_eq!((tenants.user_concurrency(&anna), tenants.user_concurrency(&ben)), (Some(3), None));
    assert_eq!((tenants.project_weight(Some(&film)), tenants.project_weight(None)), (0.5, 1.0));
    assert_eq!((tenants.project_concurrency(&film), tenants.project_concurrency(&absent)), (Some(4), None));
    assert_eq!(tenants.priority(&anna, Some(&film), 10), -5);
    assert_eq!(tenants.priority(&ben, Some(&absent), i32::MAX), i32::MAX);
    assert_eq!(tenants.priority(&anna, None, i32::MAX), i32::MAX);
    assert_eq!(tenants.admit(&anna).limit, None, "a user's file replaces the default, it does not add to it");
    assert!(tenants.admit(&ben).allowed && tenants.admit(&ben).allowed && !tenants.admit(&ben).allowed);
    assert!(tenants.admit_project(&film).allowed && !tenants.admit_project(&film).allowed);
    assert_eq!(tenants.admit_project(&absent).limit, None);
}

#[test]
fn policies_are_replaced_as_a_whole_and_old_readers_keep_theirs() {
    let tenants = Tenants::new(policies(), TimeZone::UTC, Arc::new(Hands::default()));
    let ben = user("ben");
    let before = tenants.policies();
    assert!(tenants.admit(&ben).allowed && tenants.admit(&ben).allowed);
    tenants.clone().replace(TenantPolicies::default());
    assert_eq!(*before, policies());
    assert_eq!(*tenants.policies(), TenantPolicies::default());
    assert_eq!(tenants.admit(&ben).limit, None);
    tenants.replace(policies());
    assert!(!tenants.admit(&ben).allowed, "coming back to the same limit is no way around it");
}
