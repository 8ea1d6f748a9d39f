//! The service over a real database file.

use std::path::Path;

use super::*;
use crate::domain::SystemClock;

async fn service(path: &Path) -> KeyService {
    KeyService::new(Database::open(path).await.unwrap(), Arc::new(SystemClock))
}

#[tokio::test]
async fn a_key_works_until_it_is_revoked_from_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("framewright.db");
    let (server, command_line) = (service(&file).await, service(&file).await);
    assert!(!server.any().await.unwrap());

    let user: UserId = "anna".parse().unwrap();
    let (record, key) = command_line.create(&user, false).await.unwrap();
    let principal = server.authenticate(key.expose_secret()).await.unwrap();
    assert_eq!(principal, Principal { user: user.clone(), admin: false, key: Some(record.id) });

    assert!(command_line.revoke(record.id).await.unwrap());
    assert!(matches!(server.authenticate(key.expose_secret()).await, Err(AuthenticationError::Invalid)));
    assert!(!command_line.revoke(KeyId::generate()).await.unwrap());

    let listed = server.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].revoked.is_some() && key.expose_secret().starts_with(&listed[0].prefix));
    assert!(server.any().await.unwrap(), "a revoked key still means that keys were made");
}

#[tokio::test]
async fn the_key_itself_is_not_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("framewright.db");
    let keys = service(&file).await;
    let (_, key) = keys.create(&"root".parse().unwrap(), true).await.unwrap();
    assert!(keys.authenticate(key.expose_secret()).await.unwrap().admin);
    let needle = &key.expose_secret().as_bytes()[9..];
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(needle.len()).any(|window| window == needle));
    }
}

#[tokio::test]
async fn other_texts_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let keys = service(&directory.path().join("framewright.db")).await;
    assert!(matches!(keys.authenticate("").await, Err(AuthenticationError::Missing)));
    for text in ["x", &format!("fw_{}", "A".repeat(43)), &"fw_".repeat(1 << 20)] {
        assert!(matches!(keys.authenticate(text).await, Err(AuthenticationError::Invalid)));
    }
}
