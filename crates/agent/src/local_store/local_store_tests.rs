//! The durable folder: whole objects or none, one winner per name, nothing left over.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write as _;

use bytes::Bytes;
use opendal::{Buffer, ErrorKind, Operator, services};
use rustix::fs::OFlags;

use super::direct::{DIRECT_BYTES_MIN, DIRECT_WRITE_BYTES, write_large};
use super::folder::SCRATCH;
use super::writer::PART_BYTES;
use super::*;

/// Without packs, which have tests of their own.
fn store(root: &Path) -> Operator {
    let durable = DurableWrites::open(root, false).unwrap();
    Operator::new(services::Fs::default().root(durable.root().to_str().unwrap())).unwrap().layer(durable)
}

fn leftovers(root: &Path) -> usize {
    fs::read_dir(root.join(SCRATCH)).unwrap().count()
}

#[tokio::test]
async fn an_object_of_many_chunks_reads_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    // More chunks than one gathered write takes, empty ones among them.
    let chunks: Vec<Bytes> = (0..3000_u32).map(|n| Bytes::from(n.to_le_bytes().repeat((n % 7) as usize))).collect();
    let expected = chunks.concat();
    let written = store.write("org-1/flush/a/1", Buffer::from(chunks)).await.unwrap();
    assert_eq!(written.content_length(), expected.len() as u64);
    assert_eq!(store.read("org-1/flush/a/1").await.unwrap().to_vec(), expected);
    let part = store.read_with("org-1/flush/a/1").range(100..228).await.unwrap();
    assert_eq!(part.to_vec(), expected[100..228]);
    assert_eq!(leftovers(folder.path()), 0);
}

#[tokio::test]
async fn large_objects_of_any_length_read_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for length in [
        DIRECT_BYTES_MIN,
        DIRECT_BYTES_MIN + 1,
        DIRECT_WRITE_BYTES - 1,
        DIRECT_WRITE_BYTES,
        3 * DIRECT_WRITE_BYTES + 17,
    ] {
        let whole: Vec<u8> = (0..=250_u8).cycle().take(length).collect();
        // Chunks that begin and end anywhere.
        let chunks: Vec<Bytes> = whole.chunks(70_001).map(Bytes::copy_from_slice).collect();
        for key in ["org-1/flush/a/2", "other"] {
            let key = format!("{key}-{length}");
            store.write(&key, Buffer::from(chunks.clone())).await.unwrap();
            assert!(store.read(&key).await.unwrap().to_vec() == whole, "{key}");
        }
    }
}

#[test]
fn a_file_system_that_refuses_direct_writes_gets_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object");
    let chunks = [Bytes::from(vec![1; 70_001]), Bytes::from(vec![2; DIRECT_BYTES_MIN])];
    let refuses = |file: &mut File, _: &[Bytes]| {
        rustix::fs::fcntl_setfl(&*file, OFlags::empty())?;
        file.write_all(&[9; 2 * DIRECT_BYTES_MIN])?;
        Err(io::ErrorKind::InvalidInput.into())
    };
    write_large(&mut File::create(&path).unwrap(), &chunks, refuses).unwrap();
    assert!(fs::read(&path).unwrap() == chunks.concat(), "whole, and nothing of the refused attempt");
    let fails = |_: &mut File, _: &[Bytes]| Err(io::ErrorKind::StorageFull.into());
    let failed = write_large(&mut File::create(&path).unwrap(), &chunks, fails).unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::StorageFull, "no other error is tried again");
}

#[tokio::test]
async fn chunks_written_one_by_one_make_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut writer = store.writer("a/b").await.unwrap();
    writer.write("one,").await.unwrap();
    writer.write("two").await.unwrap();
    assert_eq!(store.stat("a/b").await.unwrap_err().kind(), ErrorKind::NotFound, "not before it is whole");
    writer.close().await.unwrap();
    assert_eq!(store.read("a/b").await.unwrap().to_vec(), b"one,two");
}

#[tokio::test]
async fn a_later_write_replaces_the_whole_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    store.write("k", vec![1_u8; 1000]).await.unwrap();
    store.write("k", vec![2_u8; 10]).await.unwrap();
    assert_eq!(store.read("k").await.unwrap().to_vec(), vec![2_u8; 10]);
    store.write("empty", Vec::<u8>::new()).await.unwrap();
    assert_eq!(store.stat("empty").await.unwrap().content_length(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_creates_exactly_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut racers = tokio::task::JoinSet::new();
    for key in 0..50 {
        for racer in 0..8_u8 {
            let store = store.clone();
            racers.spawn(async move {
                let body = vec![racer; 512];
                match store.write_with(&format!("race/{key}"), body).if_not_exists(true).await {
                    Ok(_) => Some((key, racer)),
                    Err(error) if error.kind() == ErrorKind::ConditionNotMatch => None,
                    Err(error) => panic!("{error}"),
                }
            });
        }
    }
    let winners: Vec<(i32, u8)> = racers.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 50);
    for (key, racer) in winners {
        assert_eq!(store.read(&format!("race/{key}")).await.unwrap().to_vec(), vec![racer; 512]);
    }
    assert_eq!(leftovers(folder.path()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_never_sees_half_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let length = 4 << 20;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for value in 1..=10_u8 {
                store.write("k", vec![value; length]).await.unwrap();
            }
        })
    };
    while !writer.is_finished() {
        match fs::read(folder.path().join("k")) {
            Ok(bytes) => assert!(bytes.len() == length && bytes.iter().all(|b| *b == bytes[0])),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn a_segment_written_again_is_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    // As a retry after an attempt that failed half-way, or whose answer was late.
    fs::create_dir_all(folder.path().join("org-1/flush/7")).unwrap();
    fs::write(folder.path().join("org-1/flush/7/0-1"), b"half").unwrap();
    store.write("org-1/flush/7/0-1", "the whole").await.unwrap();
    assert_eq!(store.read("org-1/flush/7/0-1").await.unwrap().to_vec(), b"the whole");
    assert_eq!(leftovers(folder.path()), 0);
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_removed_at_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(SCRATCH)).unwrap();
    fs::write(folder.path().join(SCRATCH).join("1-0"), b"half").unwrap();
    let store = store(folder.path());
    assert_eq!(leftovers(folder.path()), 0);
    store.write("k", "v").await.unwrap();
}

#[tokio::test]
async fn a_second_process_on_the_folder_leaves_the_first_ones_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let _first = DurableWrites::open(folder.path(), true).unwrap();
    fs::write(folder.path().join(SCRATCH).join("half"), b"half").unwrap();
    let _second = DurableWrites::open(folder.path(), true).unwrap();
    assert_eq!(leftovers(folder.path()), 1);
}

#[tokio::test]
async fn temporary_files_are_not_listed_and_keys_stay_inside() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    store.write("a/b/c", "v").await.unwrap();
    fs::write(folder.path().join(SCRATCH).join("half"), b"half").unwrap();
    let listed = store.list_with("/").recursive(true).await.unwrap();
    let files: Vec<&str> = listed.iter().map(opendal::Entry::path).filter(|path| !path.ends_with('/')).collect();
    assert_eq!(files, ["a/b/c"]);
    assert!(!listed.iter().any(|entry| entry.path().starts_with(SCRATCH)));
    for key in ["../out", "a/../../out", ".tmp/x"] {
        assert!(store.write(key, "v").await.is_err(), "{key}");
    }
}

#[tokio::test]
async fn a_failed_write_leaves_neither_object_nor_temporary_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    // A file stands where the object's folder would be.
    store.write("a", "v").await.unwrap();
    assert!(store.write("a/b", "v").await.is_err());
    assert_eq!(leftovers(folder.path()), 0);
    // The name cannot exist.
    let long = "x".repeat(300);
    assert!(store.write(&long, "v").await.is_err());
    assert_eq!(leftovers(folder.path()), 0);
}

#[tokio::test]
async fn what_would_not_be_durable_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    store.write("a", "v").await.unwrap();
    for error in [
        store.copy("a", "b").await.map(drop).unwrap_err(),
        store.rename("a", "b").await.unwrap_err(),
        store.write_with("a", "more").append(true).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[tokio::test]
async fn a_delete_removes_the_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    store.write("a/b", "v").await.unwrap();
    store.delete("a/b").await.unwrap();
    assert_eq!(store.read("a/b").await.unwrap_err().kind(), ErrorKind::NotFound);
    store.delete("a/b").await.unwrap();
    store.write("a/b", "again").await.unwrap();
}

#[tokio::test]
async fn a_large_object_is_out_of_sight_at_once_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let large = vec![7_u8; 20 << 20];
    store.write("a/large", large.clone()).await.unwrap();
    let mut open = File::open(folder.path().join("a/large")).unwrap();
    let delete = || {
        let store = store.clone();
        tokio::spawn(async move { store.delete("a/large").await })
    };
    let deletions = [delete(), delete()];
    while store.exists("a/large").await.unwrap() {
        tokio::task::yield_now().await;
    }
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut open, &mut read).unwrap();
    assert!(read == large, "who had it open reads it");
    for deletion in deletions {
        deletion.await.unwrap().unwrap();
    }
    assert_eq!(fs::read_dir(folder.path().join(SCRATCH)).unwrap().count(), 0);
    store.delete("a/large").await.unwrap();
}

#[tokio::test]
async fn a_folder_removed_under_the_store_is_an_error_then_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    store.write("a/b", "v").await.unwrap();
    fs::remove_dir_all(folder.path().join("a")).unwrap();
    store.write("a/b", "v").await.unwrap_err();
    store.write("a/b", "v").await.unwrap();
}

/// `cargo test --release -p agent local_store -- --ignored --nocapture` prints latencies of 256 KiB writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn latency_of_a_quarter_mebibyte() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let store = store(folder.path());
    for chunks in [1_usize, 64] {
        let body: VecDeque<Bytes> = (0..chunks).map(|_| Bytes::from(vec![7_u8; (256 << 10) / chunks])).collect();
        let mut took = Vec::new();
        for n in 0..500 {
            let begun = tokio::time::Instant::now();
            store.write(&format!("org-1/flush/{chunks}/{n}"), Buffer::from(body.clone())).await.unwrap();
            took.push(begun.elapsed());
        }
        took.sort();
        println!("{chunks} chunks: p50 {:?}, p99 {:?}", took[250], took[495]);
    }
}

/// Writes an object in parts of this many bytes.
async fn write_in_parts(store: &Operator, key: &str, whole: &[u8], part: usize) -> opendal::Writer {
    let mut writer = store.writer_with(key).chunk(PART_BYTES).await.unwrap();
    for part in whole.chunks(part) {
        // Chunks that begin and end anywhere.
        let chunks: Vec<Bytes> = part.chunks(70_001).map(Bytes::copy_from_slice).collect();
        writer.write(Buffer::from(chunks)).await.unwrap();
    }
    writer
}

#[tokio::test]
async fn an_object_that_comes_in_parts_reads_back_equal_and_is_not_held_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for length in [0, 1, PART_BYTES, 2 * PART_BYTES, 5 * PART_BYTES + 17] {
        let whole: Vec<u8> = (0..=250_u8).cycle().take(length).collect();
        let key = format!("org-1/data/a/{length}");
        let mut writer = write_in_parts(&store, &key, &whole, 3 << 20).await;
        assert_eq!(store.stat(&key).await.unwrap_err().kind(), ErrorKind::NotFound, "not before it is whole");
        let parts: u64 =
            fs::read_dir(folder.path().join(SCRATCH)).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
        assert!(length as u64 - parts <= 3 * PART_BYTES as u64, "{parts} of {length} bytes are in the file");
        assert_eq!(writer.close().await.unwrap().content_length(), length as u64);
        assert!(store.read(&key).await.unwrap().to_vec() == whole, "{key}");
        assert_eq!(leftovers(folder.path()), 0);
    }
}

#[tokio::test]
async fn an_object_in_parts_that_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut aborted = write_in_parts(&store, "org-1/data/a/1", &vec![7; 4 * PART_BYTES], PART_BYTES).await;
    let dropped = write_in_parts(&store, "org-1/data/a/2", &vec![7; 4 * PART_BYTES], PART_BYTES).await;
    assert_eq!(leftovers(folder.path()), 2);
    aborted.abort().await.unwrap();
    drop(dropped);
    assert_eq!(leftovers(folder.path()), 0);
    assert!(
        store.list_with("org-1/").recursive(true).await.is_ok_and(|found| found.iter().all(|f| f.metadata().is_dir()))
    );
}

#[test]
fn a_part_that_is_written_again_takes_its_own_place() {
    let folder = tempfile::tempdir().unwrap();
    let durable = Folder::open(folder.path(), true).unwrap();
    let mut temporary = durable.scratch.new_temporary().unwrap();
    let part = |byte: u8, length: usize| vec![Bytes::from(vec![byte; length])];
    temporary.write_at(0, &part(1, 2 * DIRECT_BYTES_MIN)).unwrap();
    let start = 2 * DIRECT_BYTES_MIN as u64;
    // An attempt that nobody heard of, longer than the one that counts.
    temporary.write_at(start, &part(9, 3 * DIRECT_BYTES_MIN)).unwrap();
    temporary.write_at(start, &part(2, DIRECT_BYTES_MIN)).unwrap();
    durable.put_parts(&mut temporary, "k", start + DIRECT_BYTES_MIN as u64, &part(3, 10), false).unwrap();
    // Its answer was lost: asked again, it is still there.
    durable.put_parts(&mut temporary, "k", start + DIRECT_BYTES_MIN as u64, &part(3, 10), false).unwrap();
    let expected = [part(1, 2 * DIRECT_BYTES_MIN), part(2, DIRECT_BYTES_MIN), part(3, 10)].concat().concat();
    assert!(fs::read(folder.path().join("k")).unwrap() == expected);
}
