//! Opening: what works is usable, what does not is one clear line; and what an open bucket survives.

use std::convert::identity;
use std::net::SocketAddr;

use opendal::ErrorKind;
use s3_server::Server;

use super::*;
use crate::config::S3Settings;

#[tokio::test]
async fn a_folder_is_created_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("not/there/yet");
    let store = open(&StoreSettings::File { root: root.clone() }, true, identity).await.unwrap();
    store.operator.write("k", "v").await.unwrap();
    assert_eq!(store.operator.read("k").await.unwrap().to_vec(), b"v");
    assert!(store.location.starts_with("file:///") && store.location.ends_with("/not/there/yet"));
}

#[tokio::test]
async fn memory_works() {
    let store = open(&StoreSettings::Memory, true, identity).await.unwrap();
    store.operator.write("k", "v").await.unwrap();
    assert_eq!(store.operator.read("k").await.unwrap().to_vec(), b"v");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = open(&StoreSettings::File { root: file.join("sub") }, true, identity).await.err().unwrap();
    let line = format!("{error:#}");
    assert!(line.contains("cannot be written") && line.lines().count() == 1, "{line}");
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// What reaches a [`Server`] with its own settings.
fn settings(address: SocketAddr) -> S3Settings {
    S3Settings {
        bucket: "streamhouse".to_owned(),
        prefix: "here".to_owned(),
        endpoint: Some(format!("http://{address}")),
        region: "us-east-1".to_owned(),
        keys: Some(("test".to_owned(), "testtest".to_owned(), None)),
    }
}

async fn server() -> (Server, S3Settings) {
    let server = Server::new(s3_server::Settings::default());
    let address = server.listen(LOOPBACK).await.unwrap();
    (server, settings(address))
}

/// The one line that `open` fails with.
async fn refusal(s3: S3Settings) -> String {
    let line = format!("{:#}", open(&StoreSettings::S3(s3), true, identity).await.err().expect("refused"));
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(!line.contains("testtest"), "a secret: {line}");
    line
}

#[tokio::test]
async fn a_bucket_is_checked_and_used() {
    let (_server, s3) = server().await;
    let store = open(&StoreSettings::S3(s3), true, identity).await.unwrap();
    assert_eq!(store.location, "s3://streamhouse/here");
    assert!(store.operator.list("/").await.unwrap().is_empty(), "the probe is gone");
    let written = store.operator.write_with("k", "value").if_not_exists(true).await;
    written.unwrap();
    assert_eq!(store.operator.read_with("k").range(1..3).await.unwrap().to_vec(), b"al");
    let again = store.operator.write_with("k", "other").if_not_exists(true).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::ConditionNotMatch);
    for number in 0..1_100 {
        store.operator.write(&format!("many/{number:04}"), "").await.unwrap();
    }
    assert_eq!(store.operator.list_with("many/").recursive(true).await.unwrap().len(), 1_100, "more than one page");
    assert_eq!(store.operator.list("/").await.unwrap().len(), 2, "an object and a folder");
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_one_line() {
    let (server, s3) = server().await;
    let line = refusal(S3Settings { bucket: "other".to_owned(), ..s3.clone() }).await;
    assert!(line.contains("\"other\" does not exist"), "{line}");
    let line = refusal(S3Settings { region: "eu-central-1".to_owned(), ..s3.clone() }).await;
    assert!(line.contains("not in region \"eu-central-1\""), "{line}");
    for keys in [("test", "wrong"), ("nobody", "testtest")] {
        let keys = Some((keys.0.to_owned(), keys.1.to_owned(), None));
        let line = refusal(S3Settings { keys, ..s3.clone() }).await;
        assert!(line.contains("does not let these credentials"), "{line}");
    }
    for (method, what) in [("PUT", "write objects"), ("DELETE", "delete objects")] {
        server.change_faults(&format!("deny={method}")).unwrap();
        let line = refusal(s3.clone()).await;
        assert!(line.contains(what), "{line}");
    }
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_is_one_line() {
    let listener = std::net::TcpListener::bind(LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let line = refusal(settings(address)).await;
    assert!(line.contains(&address.to_string()) && line.contains("does not answer"), "{line}");
}

/// What may be tried again is; a refusal is not.
#[tokio::test]
async fn refusals_of_the_moment_and_lost_answers_are_tried_again() {
    let (server, s3) = server().await;
    let store = open(&StoreSettings::S3(s3), true, identity).await.unwrap();
    server.change_faults("unavailable=0.1&lost=0.1").unwrap();
    for number in 0..40 {
        let key = format!("k{number}");
        store.operator.write(&key, key.clone()).await.unwrap();
        assert_eq!(store.operator.read(&key).await.unwrap().to_vec(), key.as_bytes());
    }
    server.change_faults("unavailable=0&lost=0&deny=PUT").unwrap();
    let before = server.requests("PUT");
    let denied = store.operator.write("k", "v").await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
    assert_eq!(server.requests("PUT") - before, 1, "tried again");
}

/// As a rewrite writes: in parts, each of them tried again where that helps, and an object only at the end.
#[tokio::test]
async fn a_large_object_in_parts_is_whole_or_not_there() {
    let (server, s3) = server().await;
    let store = open(&StoreSettings::S3(s3), true, identity).await.unwrap();
    server.change_faults("unavailable=0.1&lost=0.05").unwrap();
    let whole: Vec<u8> = (0..=250_u8).cycle().take(20 << 20).collect();
    for number in 0..3 {
        let key = format!("org-1/data/{number}");
        let mut writer = store.operator.writer_with(&key).chunk(8 << 20).await.unwrap();
        let mut written = Ok(());
        for part in whole.chunks(3 << 20) {
            written = written.and(writer.write(part.to_vec()).await);
        }
        assert!(store.operator.stat(&key).await.is_err(), "not before it is whole");
        match written.and(writer.close().await.map(drop)) {
            Ok(()) => assert!(store.operator.read(&key).await.unwrap().to_vec() == whole, "{key}"),
            // The answer to its end was lost: whoever wanted it makes another one.
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
    }
    assert!(server.requests("PUT") >= 9, "three parts each");
    server.change_faults("unavailable=0&lost=0").unwrap();
    let mut writer = store.operator.writer_with("org-1/data/9").chunk(8 << 20).await.unwrap();
    writer.write(whole.clone()).await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(store.operator.stat("org-1/data/9").await.unwrap_err().kind(), ErrorKind::NotFound);
}
