//! What every [`KeyStore`] must do.

use std::sync::Arc;

use rstest::rstest;

use super::{KeyRecord, KeyScope, KeyStore};
use crate::database::tests::{Adapter, TestDatabase};
use crate::domain::{KeyId, UnixMs};

async fn empty(adapter: Adapter) -> Option<(Arc<dyn KeyStore>, TestDatabase)> {
    let test = TestDatabase::open(adapter).await?;
    Some((super::open(&test.database), test))
}

fn record(user: &str, created: i64) -> KeyRecord {
    KeyRecord {
        id: KeyId::generate(),
        prefix: "fw_abcdef".to_owned(),
        user: user.parse().unwrap(),
        scope: KeyScope::User,
        project: None,
        created: UnixMs(created),
        expires: None,
        revoked: None,
    }
}

#[rstest]
#[tokio::test]
async fn what_is_stored_comes_back(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    assert!(!store.any().await.unwrap());
    assert_eq!(store.find(&[1; 32]).await.unwrap(), None);
    let project = KeyRecord {
        scope: KeyScope::Project,
        project: Some("film".parse().unwrap()),
        expires: Some(UnixMs(99)),
        ..record("ann", 1)
    };
    let admin = KeyRecord { scope: KeyScope::Admin, ..record("bob", 2) };
    store.insert(&admin, &[2; 32]).await.unwrap();
    store.insert(&project, &[1; 32]).await.unwrap();
    assert_eq!(store.find(&[1; 32]).await.unwrap(), Some((project.clone(), [1; 32])));
    assert_eq!(store.list(None).await.unwrap(), [project.clone(), admin.clone()], "oldest first");
    assert_eq!(store.list(Some(&admin.user)).await.unwrap(), [admin]);
    assert!(store.any().await.unwrap());
    assert!(store.insert(&record("eve", 3), &[1; 32]).await.is_err(), "a hash belongs to one key");
}

#[rstest]
#[tokio::test]
async fn a_key_is_revoked_once(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let key = record("ann", 1);
    store.insert(&key, &[7; 32]).await.unwrap();
    assert_eq!(store.revoke(KeyId::generate(), UnixMs(5)).await.unwrap(), None);
    let revoked = KeyRecord { revoked: Some(UnixMs(5)), ..key.clone() };
    assert_eq!(store.revoke(key.id, UnixMs(5)).await.unwrap(), Some(revoked.clone()));
    assert_eq!(store.revoke(key.id, UnixMs(6)).await.unwrap(), Some(revoked.clone()), "the first time stays");
    assert_eq!(store.find(&[7; 32]).await.unwrap(), Some((revoked, [7; 32])));
    assert!(store.any().await.unwrap(), "revoked ones count");
}
