//! Opening: what works is usable, what does not is one clear line.

use super::*;

#[tokio::test]
async fn a_folder_is_created_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("not/there/yet");
    let store = open(&StoreSettings::File { root: root.clone() }).await.unwrap();
    store.operator.write("k", "v").await.unwrap();
    assert_eq!(store.operator.read("k").await.unwrap().to_vec(), b"v");
    assert!(store.location.starts_with("file:///") && store.location.ends_with("/not/there/yet"));
}

#[tokio::test]
async fn memory_works() {
    let store = open(&StoreSettings::Memory).await.unwrap();
    store.operator.write("k", "v").await.unwrap();
    assert_eq!(store.operator.read("k").await.unwrap().to_vec(), b"v");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = open(&StoreSettings::File { root: file.join("sub") }).await.err().unwrap();
    let line = format!("{error:#}");
    assert!(line.contains("cannot be written") && line.lines().count() == 1, "{line}");
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_is_one_line() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let s3 = S3Settings {
        bucket: "b".to_owned(),
        prefix: String::new(),
        endpoint: Some(endpoint.clone()),
        region: "us-east-1".to_owned(),
        keys: Some(("id".to_owned(), "very-secret".to_owned(), None)),
    };
    let error = open(&StoreSettings::S3(s3)).await.err().unwrap();
    let line = format!("{error:#}");
    assert!(line.contains(&endpoint) && line.lines().count() == 1, "{line}");
    assert!(!line.contains("very-secret"), "{line}");
}
