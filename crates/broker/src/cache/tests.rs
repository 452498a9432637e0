//! Tests of the disk cache: what comes back, what survives a restart, and what a disk or a folder in a bad state does.

use super::*;

const CLUSTER: Uuid = Uuid::from_u128(7);
const OBJECT: &str = "org-1/flush/0000000000000000007/0000000000000000042-9f86d081884c7d65";

fn plenty(_: &Path) -> std::io::Result<u64> {
    Ok(u64::MAX / 2)
}

#[expect(clippy::unnecessary_wraps, reason = "as the file system answers")]
const fn nothing(_: &Path) -> std::io::Result<u64> {
    Ok(0)
}

async fn open(folder: &Path, cluster_id: Uuid, bytes_max: u64) -> DiskCache {
    let settings = CacheSettings { folder: folder.to_owned(), bytes_max };
    DiskCache::open_on(&settings, cluster_id, 64 << 20, &Arc::default(), plenty).await
}

fn object(len: u64) -> Buffer {
    Buffer::from((0..len).map(|at| u8::try_from(at % 251).expect("small")).collect::<Vec<_>>())
}

/// Offers a whole object and waits until the disk has it.
async fn offer(cache: &DiskCache, object_key: &str, len: u64) {
    let before = cache.used();
    cache.offer_object(object_key, &object(len));
    settle(|| cache.used() > before).await;
}

async fn settle(done: impl Fn() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing came of it in 5 s");
}

/// Whether these bytes of the object are there; if so, they are right.
async fn has(cache: &DiskCache, object_key: &str, range: Range<u64>, object_bytes: u64) -> bool {
    let read = cache.read(object_key, range.clone(), object_bytes).await;
    if let Some(bytes) = &read {
        assert_eq!(*bytes, object(object_bytes).slice(at(range.start)..at(range.end)).to_bytes());
    }
    read.is_some()
}

#[tokio::test]
async fn what_was_offered_is_read_back_in_any_part() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = open(folder.path(), CLUSTER, 64 << 20).await;
    let len = BLOCK_BYTES + 1000;
    cache.offer_object(OBJECT, &object(len));
    settle(|| cache.used() > len).await;
    for range in [0..len, 8..9, BLOCK_BYTES - 5..BLOCK_BYTES + 5, BLOCK_BYTES..len, len - 1..len] {
        assert!(has(&cache, OBJECT, range, len).await);
    }
    assert!(!has(&cache, "org-1/flush/other", 8..9, len).await);
    assert!(cache.read(OBJECT, len - 1..len + 1, len).await.is_none(), "beyond the object");
    cache.offer(Piece::new("a", 5..9), object(9).slice(5..9));
    settle(|| cache.used() > len + 3 * 4096).await;
    assert!(has(&cache, "a", 5..9, 9).await && !has(&cache, "a", 5..8, 9).await);
}

#[tokio::test]
async fn the_oldest_goes_when_the_bytes_are_used_up() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = open(folder.path(), CLUSTER, 4 * 8192).await;
    for object_key in ["a", "b", "c", "d"] {
        offer(&cache, object_key, 100).await;
    }
    assert!(has(&cache, "a", 0..100, 100).await);
    cache.offer_object("e", &object(100));
    settle(|| !cache.0.as_ref().expect("on").shelf.index.lock().contains(&Piece::new("b", 0..100))).await;
    assert!(has(&cache, "a", 0..100, 100).await && !has(&cache, "b", 0..100, 100).await);
    settle(|| !folder.path().join("b@0-100").exists()).await;
    assert_eq!(cache.used(), 4 * 8192);
}

#[tokio::test]
async fn a_restart_finds_what_was_there_and_another_cluster_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = open(folder.path(), CLUSTER, 64 << 20).await;
    offer(&cache, OBJECT, 1000).await;
    drop(cache);
    let cache = reopened(folder.path(), CLUSTER).await;
    settle(|| cache.used() > 0).await;
    assert!(has(&cache, OBJECT, 8..1000, 1000).await);
    drop(cache);
    let cache = reopened(folder.path(), Uuid::from_u128(8)).await;
    offer(&cache, "new", 10).await;
    assert!(!has(&cache, OBJECT, 8..1000, 1000).await);
    assert!(!folder.path().join(Piece::new(OBJECT, 0..1000).file_name().expect("short")).exists());
}

/// Opens a folder whose cache was dropped a moment ago.
async fn reopened(folder: &Path, cluster_id: Uuid) -> DiskCache {
    for _ in 0..500 {
        let cache = open(folder, cluster_id, 64 << 20).await;
        if cache.0.is_some() {
            return cache;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the folder is still locked");
}

#[tokio::test]
async fn a_restart_with_less_room_keeps_the_newest() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = open(folder.path(), CLUSTER, 64 << 20).await;
    for object_key in ["a", "b", "c"] {
        offer(&cache, object_key, 100).await;
        tokio::time::sleep(Duration::from_millis(20)).await; // files are told apart by their times
    }
    drop(cache);
    let settings = CacheSettings { folder: folder.path().to_owned(), bytes_max: 8192 };
    settle(|| Files::open(folder.path(), CLUSTER, plenty).is_ok()).await;
    let cache = DiskCache::open_on(&settings, CLUSTER, 64 << 20, &Arc::default(), plenty).await;
    settle(|| cache.used() == 8192 && !folder.path().join("b@0-100").exists()).await;
    assert!(has(&cache, "c", 0..100, 100).await);
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone_and_what_is_broken_is_removed() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().expect("folder");
    drop(open(folder.path(), CLUSTER, 64 << 20).await);
    settle(|| folder.path().join("cluster").exists()).await;
    let foreign = ["notes.txt", "a@1-0", "%2e%2e@0-4", "a@b@0-1", " @0-1"];
    let file = |name: &str| folder.path().join(name);
    foreign.iter().for_each(|name| std::fs::write(file(name), "x").expect("written"));
    std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff@0-1")), "x").expect("written");
    std::fs::create_dir(file("folder@0-1")).expect("made");
    std::fs::write(folder.path().with_extension("outside"), "secret").expect("written");
    std::os::unix::fs::symlink(folder.path().with_extension("outside"), file("link@0-6")).expect("linked");
    std::fs::write(file("short@0-10"), "too short").expect("written");
    std::fs::write(file(".tmp"), "half").expect("written");
    std::fs::write(file("good@0-4"), "good").expect("written");
    let cache = reopened(folder.path(), CLUSTER).await;
    settle(|| cache.used() > 0 && !file("short@0-10").exists() && !file(".tmp").exists()).await;
    assert_eq!(cache.read("good", 0..4, 4).await.as_deref(), Some(b"good".as_slice()));
    assert!(cache.read("link", 0..6, 6).await.is_none() && cache.read("folder", 0..1, 1).await.is_none());
    assert!(foreign[..2].iter().chain(&foreign[3..]).all(|name| file(name).exists()), "left alone");
    assert!(file("link@0-6").exists() && file("folder@0-1").exists());
    std::fs::remove_file(folder.path().with_extension("outside")).expect("removed");
}

#[tokio::test]
async fn what_is_forgotten_or_lost_is_a_miss() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = open(folder.path(), CLUSTER, 64 << 20).await;
    offer(&cache, "a", 100).await;
    offer(&cache, "b", 100).await;
    cache.forget("a", &(8..20), 100);
    assert!(!has(&cache, "a", 0..100, 100).await);
    settle(|| !folder.path().join("a@0-100").exists()).await;
    std::fs::remove_file(folder.path().join("b@0-100")).expect("removed");
    assert!(!has(&cache, "b", 0..100, 100).await);
    assert_eq!(cache.used(), 0);
    offer(&cache, "b", 100).await;
    assert!(has(&cache, "b", 0..100, 100).await, "taken again");
}

#[tokio::test]
async fn a_full_disk_gives_room_and_takes_nothing_for_a_while() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = open(folder.path(), CLUSTER, 64 << 20).await;
    offer(&cache, "a", 100).await;
    drop(cache);
    settle(|| Files::open(folder.path(), CLUSTER, plenty).is_ok()).await;
    let settings = CacheSettings { folder: folder.path().to_owned(), bytes_max: 64 << 20 };
    let cache = DiskCache::open_on(&settings, CLUSTER, 64 << 20, &Arc::default(), nothing).await;
    settle(|| cache.used() > 0).await;
    cache.offer_object("b", &object(100));
    settle(|| cache.0.as_ref().expect("on").shelf.is_paused()).await;
    assert!(!has(&cache, "a", 0..100, 100).await && !has(&cache, "b", 0..100, 100).await);
    assert!(!folder.path().join("a@0-100").exists());
    cache.offer_object("c", &object(100));
    assert_eq!(cache.used(), 0);
}

#[tokio::test]
async fn a_folder_that_vanishes_turns_writing_off_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = open(folder.path(), CLUSTER, 64 << 20).await;
    offer(&cache, "a", 100).await;
    std::fs::remove_dir_all(folder.path()).expect("removed");
    cache.offer_object("b", &object(100));
    settle(|| cache.0.as_ref().expect("on").shelf.is_paused()).await;
    assert!(!has(&cache, "a", 0..100, 100).await);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_or_is_used_is_no_cache() {
    let folder = tempfile::tempdir().expect("folder");
    let first = open(folder.path(), CLUSTER, 64 << 20).await;
    assert!(first.0.is_some() && open(folder.path(), CLUSTER, 64 << 20).await.0.is_none(), "one agent each");
    std::fs::write(folder.path().join("file"), "").expect("written");
    let under_a_file = open(&folder.path().join("file/cache"), CLUSTER, 64 << 20).await;
    under_a_file.offer_object("a", &object(10));
    assert!(!has(&under_a_file, "a", 0..10, 10).await);
}

#[tokio::test]
async fn what_does_not_fit_the_queue_is_left_out() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = CacheSettings { folder: folder.path().to_owned(), bytes_max: 64 << 20 };
    let cache = DiskCache::open_on(&settings, CLUSTER, 150, &Arc::default(), plenty).await;
    // Nothing runs between the offers: this test's runtime has one thread.
    cache.offer_object("a", &object(100));
    cache.offer_object("b", &object(100));
    settle(|| cache.used() > 0).await;
    assert!(has(&cache, "a", 0..100, 100).await && !has(&cache, "b", 0..100, 100).await);
}
