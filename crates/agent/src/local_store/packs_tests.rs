//! Packs behave as files do, through every start, whatever a crash left of the last one.

use super::super::folder::{Folder, PACKS, SCRATCH};
use super::*;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use futures::TryStreamExt as _;
use opendal::{ErrorKind, Operator, services};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::super::DurableWrites;
use super::pack_format::{BLOCK, position_of};

/// Blocks of a pack that is soon full.
const FEW: u32 = 16;

/// Packs whose end waits for the thread that may make the next one: two starts never overlap.
struct Opened(Arc<Packs>);

impl std::ops::Deref for Opened {
    type Target = Arc<Packs>;

    fn deref(&self) -> &Arc<Packs> {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        until_prepared(self);
    }
}

fn until_prepared(packs: &Packs) {
    while packs.state.lock().lines.iter().any(|line| line.preparing) {
        std::thread::yield_now();
    }
}

fn packs(root: &Path, blocks: u32) -> Opened {
    let scratch = Scratch::new(root.join(SCRATCH)).unwrap();
    let kinds = [Kind { pack_bytes: position_of(blocks), ..SMALL }, Kind { pack_bytes: 6 << 20, ..LARGE }];
    Opened(Arc::new(Packs::open_kinds(root.join(PACKS), Arc::new(scratch), kinds).unwrap()))
}

fn key(n: usize) -> String {
    format!("org-1/flush/0000000000000000007/{n:019}-00000000000000ff")
}

fn content(n: usize) -> Vec<u8> {
    (1..=251_u8).cycle().skip(n % 251).take(n * 977 % 9_000).collect()
}

fn put(packs: &Arc<Packs>, n: usize) -> bool {
    packs.put(&key(n), &[Bytes::from(content(n))]).unwrap()
}

/// Puts it, in a new pack if there is none ready.
fn put_surely(packs: &Arc<Packs>, n: usize) {
    while !put(packs, n) {
        until_prepared(packs);
    }
}

fn get(packs: &Packs, key: &str) -> Option<Vec<u8>> {
    let found = packs.find(key).unwrap()?;
    Some(packs.read(&found, 0, found.entry.length as usize).unwrap()?.to_vec())
}

fn listed(packs: &Packs) -> Vec<String> {
    let entries = packs.numbers().into_iter().flat_map(|number| packs.list(number).unwrap());
    let mut keys: Vec<String> = entries.map(|entry| entry.key).collect();
    keys.sort();
    keys
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root.join(PACKS)).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn objects_outlive_full_packs_and_starts() {
    let folder = tempfile::tempdir_in(".").unwrap();
    for round in 0..4 {
        let packs = packs(folder.path(), FEW);
        for n in 0..round * 20 {
            assert_eq!(get(&packs, &key(n)), Some(content(n)), "{n} in round {round}");
        }
        for n in round * 20..(round + 1) * 20 {
            put_surely(&packs, n);
        }
        assert_eq!(listed(&packs), (0..(round + 1) * 20).map(key).collect::<Vec<_>>());
        assert!(files(folder.path()).len() > 2);
    }
}

#[test]
fn the_first_segment_of_all_is_a_file_and_the_next_pack_is_made_meanwhile() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let packs = packs(folder.path(), FEW);
    assert!(!put(&packs, 0));
    until_prepared(&packs);
    assert!(put(&packs, 0));
}

#[test]
fn large_objects_have_packs_of_their_own_whose_blocks_are_set_aside() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let object = |n: usize| content(n).repeat((LARGE.entry_bytes_max - n * 400_000) / content(n).len());
    let put = |packs: &Arc<Packs>, n: usize| {
        packs.put(&key(n), &[Bytes::from(object(n)[..9].to_vec()), Bytes::from(object(n)[9..].to_vec())]).unwrap()
    };
    let now = packs(folder.path(), FEW);
    for n in 1..=4 {
        while !put(&now, n) {
            until_prepared(&now);
        }
    }
    assert!(!now.put(&key(9), &[Bytes::from(vec![1; LARGE.entry_bytes_max + 1])]).unwrap());
    put_surely(&now, 5);
    let check = |packs: &Packs| {
        (1..=4).for_each(|n| assert!(get(packs, &key(n)) == Some(object(n)), "{n}"));
        assert_eq!(get(packs, &key(5)), Some(content(5)));
    };
    check(&now);
    let first = files(folder.path())[0].clone();
    let (all, used) = (fs::metadata(&first).unwrap().len(), fs::metadata(&first).unwrap().blocks() * 512);
    assert!(used >= all, "{used} of {all} bytes are set aside");
    now.remove(&key(1)).unwrap();
    assert!(fs::metadata(&first).unwrap().blocks() * 512 < used, "holes");
    put(&now, 1);
    drop(now);
    // Not sealed, then sealed by the first of these starts.
    check(&packs(folder.path(), FEW));
    check(&packs(folder.path(), FEW));
}

#[test]
fn appends_at_the_same_time_are_all_there() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let packs_now = packs(folder.path(), 256);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let packs = &packs_now;
            scope.spawn(move || (0..40).for_each(|n| while !put(packs, thread * 40 + n) {}));
        }
    });
    let check = |packs: &Packs| (0..320).for_each(|n| assert_eq!(get(packs, &key(n)), Some(content(n)), "{n}"));
    check(&packs_now);
    assert_eq!(listed(&packs_now).len(), 320);
    check(&packs(folder.path(), 256));
}

#[test]
fn a_damaged_pack_serves_what_is_whole_and_nothing_else() {
    let mut random = SmallRng::seed_from_u64(7);
    for round in 0..60 {
        let folder = tempfile::tempdir_in(".").unwrap();
        let before = packs(folder.path(), 64);
        (0..12).for_each(|n| put_surely(&before, n));
        let places: Vec<Entry> = (0..12).map(|n| before.find(&key(n)).unwrap().unwrap().entry).collect();
        drop(before);
        // Lost as it may be in a crash: from somewhere in an entry to somewhere later nothing was written, or the file ends.
        let path = &files(folder.path())[0];
        let mut bytes = fs::read(path).unwrap();
        let start = random.random_range(BLOCK..40 * BLOCK);
        let end = match round % 3 {
            0 => bytes.len(),
            1 => start + 1,
            _ => start + random.random_range(1..3 * BLOCK),
        };
        match round % 2 {
            0 => bytes[start..end].fill(0),
            _ if round % 3 == 0 => bytes.truncate(start),
            _ => bytes[start..end].iter_mut().for_each(|byte| *byte = random.random()),
        }
        fs::write(path, &bytes).unwrap();
        for _ in 0..2 {
            let after = packs(folder.path(), 64);
            for (n, entry) in places.iter().enumerate() {
                let begin = usize::try_from(entry.position()).unwrap();
                let until = begin + usize::try_from(entry.content_start()).unwrap() + entry.length as usize;
                match get(&after, &key(n)) {
                    Some(read) => assert!(read == content(n), "{n} in round {round}"),
                    None => assert!(start < until && begin < end, "{n} was not touched in round {round}"),
                }
            }
            put_surely(&after, 100 + round);
            assert_eq!(get(&after, &key(100 + round)), Some(content(100 + round)));
        }
    }
}

#[test]
fn a_pack_with_a_damaged_head_is_left_alone() {
    let folder = tempfile::tempdir_in(".").unwrap();
    put_surely(&packs(folder.path(), FEW), 1);
    let path = files(folder.path())[0].clone();
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let after = packs(folder.path(), FEW);
    assert_eq!(get(&after, &key(1)), None);
    put_surely(&after, 2);
    assert_eq!(get(&after, &key(2)), Some(content(2)));
    assert!(fs::read(&path).unwrap() == bytes);
}

#[test]
fn a_file_that_is_no_pack_is_left_alone_and_none_is_replaced() {
    let folder = tempfile::tempdir_in(".").unwrap();
    fs::create_dir(folder.path().join(PACKS)).unwrap();
    for name in ["notes", "12", "+000000012"] {
        fs::write(folder.path().join(PACKS).join(name), b"x").unwrap();
    }
    let packs = packs(folder.path(), FEW);
    fs::write(folder.path().join(PACKS).join("0000000000"), b"x").unwrap();
    packs.prepare(0);
    assert!(files(folder.path()).iter().all(|file| fs::read(file).unwrap() == b"x"));
    packs.state.lock().lines[0].not_before = None;
    put_surely(&packs, 1);
    assert_eq!(get(&packs, &key(1)), Some(content(1)));
}

#[test]
fn what_was_deleted_stays_away_and_gives_its_blocks_back() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let now = packs(folder.path(), 256);
    (0..30).for_each(|n| put_surely(&now, n));
    until_prepared(&now);
    now.state.lock().retire(0);
    now.seal_full();
    let blocks = || fs::metadata(&files(folder.path())[0]).unwrap().blocks();
    let before = blocks();
    (0..30).filter(|n| n % 2 == 0).for_each(|n| now.remove(&key(n)).unwrap());
    let left: Vec<String> = (0..30).filter(|n| n % 2 == 1).map(key).collect();
    assert!(blocks() < before, "holes");
    assert_eq!((get(&now, &key(4)), listed(&now)), (None, left.clone()));
    now.remove(&key(4)).unwrap();
    let later = packs(folder.path(), 256);
    assert_eq!((get(&later, &key(4)), get(&later, &key(5)), listed(&later)), (None, Some(content(5)), left.clone()));
    left.iter().for_each(|key| later.remove(key).unwrap());
    assert!(!files(folder.path()).iter().any(|file| file.ends_with("0000000000")), "nothing lives in it");
}

#[test]
fn a_pack_all_of_whose_objects_were_deleted_goes_when_it_is_full() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let packs = packs(folder.path(), FEW);
    put_surely(&packs, 1);
    packs.remove(&key(1)).unwrap();
    assert_eq!(files(folder.path()).len(), 1, "it is appended to");
    packs.state.lock().retire(0);
    packs.prepare(0);
    assert_eq!(files(folder.path()).len(), 1, "the next one");
    put_surely(&packs, 2);
    assert_eq!(get(&packs, &key(2)), Some(content(2)));
}

#[test]
fn an_object_written_again_is_there_once() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let now = packs(folder.path(), FEW);
    put_surely(&now, 1);
    assert!(now.put(&key(1), &[Bytes::from_static(b"later")]).unwrap());
    assert_eq!((get(&now, &key(1)), listed(&now).len()), (Some(b"later".to_vec()), 1));
    let later = packs(folder.path(), FEW);
    assert_eq!((get(&later, &key(1)), listed(&later).len()), (Some(b"later".to_vec()), 1));
    later.remove(&key(1)).unwrap();
    assert_eq!((get(&later, &key(1)), listed(&later).len()), (None, 0));
}

#[test]
fn a_reader_of_what_is_deleted_meanwhile_sees_no_zeros() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let packs = packs(folder.path(), FEW);
    put_surely(&packs, 5);
    let found = packs.find(&key(5)).unwrap().unwrap();
    packs.remove(&key(5)).unwrap();
    assert_eq!(packs.read(&found, 0, 10).unwrap(), None);
}

#[test]
fn what_the_disk_refuses_is_an_error_and_the_next_object_goes_elsewhere() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let packs = packs(folder.path(), FEW);
    put_surely(&packs, 1);
    let full = Pack::over(77, PackId::default(), OpenOptions::new().write(true).open("/dev/full").unwrap());
    let full = Appended { pack: Arc::new(full), next_block: 1, writing: 0, entries: Vec::new() };
    until_prepared(&packs);
    let before = packs.state.lock().lines[0].active.replace(full);
    packs.state.lock().full.extend(before);
    let error = packs.put(&key(2), &[Bytes::from_static(b"x")]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!((get(&packs, &key(2)), get(&packs, &key(1))), (None, Some(content(1))));
    put_surely(&packs, 2);
    assert_eq!(get(&packs, &key(2)), Some(content(2)));
}

#[test]
fn where_no_pack_can_be_made_objects_have_no_place() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let packs = packs(folder.path(), FEW);
    fs::remove_dir(folder.path().join(PACKS)).unwrap();
    packs.prepare(0);
    assert!(!put(&packs, 1));
    assert!(!packs.state.lock().lines[0].preparing, "it is not tried again at once");
    assert_eq!(fs::read_dir(folder.path().join(SCRATCH)).unwrap().count(), 0);
}

/// A store whose first pack is ready.
fn store(root: &Path) -> (Operator, Arc<Packs>) {
    let durable = DurableWrites::open(root, true).unwrap();
    let packs = Arc::clone(durable.folder.packs.as_ref().unwrap());
    packs.prepare(0);
    let service = services::Fs::default().root(durable.root().to_str().unwrap());
    (Operator::new(service).unwrap().layer(durable), packs)
}

#[tokio::test]
async fn a_packed_object_is_like_any_other() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let (store, packs) = store(folder.path());
    let packs = Opened(packs);
    let (small, large) = ("org-1/flush/7/1", "org-1/flush/7/2");
    store.write(small, content(5)).await.unwrap();
    store.write(large, vec![1; LARGE.entry_bytes_max + 1]).await.unwrap();
    store.write("cluster.json", "{}").await.unwrap();
    assert!(packs.may_hold(small) && !packs.may_hold(large) && !packs.may_hold("cluster.json"));
    assert!(!folder.path().join(small).exists() && folder.path().join(large).exists());

    assert_eq!(store.read(small).await.unwrap().to_vec(), content(5));
    assert_eq!(store.read_with(small).range(10..200).await.unwrap().to_vec(), content(5)[10..200]);
    assert_eq!(store.read_with(small).range(4000..).await.unwrap().to_vec(), content(5)[4000..]);
    let beyond = store.read_with(small).range(4000..40_000).await.unwrap_err();
    assert_eq!(beyond.kind(), store.read_with(large).range(4000..40_000_000).await.unwrap_err().kind());
    let stat = store.stat(small).await.unwrap();
    assert_eq!(stat.content_length(), content(5).len() as u64);
    let age = Timestamp::now().into_inner().as_second() - stat.last_modified().unwrap().into_inner().as_second();
    assert!((0..60).contains(&age));
    assert!(!store.exists("org-1/flush/7/3").await.unwrap());
    let refused = store.write_with(small, "x").if_not_exists(true).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConditionNotMatch);

    let names = async |path: &str, recursive: bool| {
        let listed = store.lister_with(path).recursive(recursive).await.unwrap();
        let mut names: Vec<String> = listed.map_ok(|entry| entry.path().to_owned()).try_collect().await.unwrap();
        names.retain(|name| !(recursive && name.ends_with('/')));
        names.sort();
        names
    };
    assert_eq!(names("", true).await, ["cluster.json", small, large]);
    assert_eq!(names("org-1/flush/", true).await, [small, large]);
    assert_eq!(names("org-1/", false).await, ["org-1/", "org-1/flush/"]);
    assert_eq!(names("org-1/flush/7/", false).await, ["org-1/flush/7/", small, large]);
    store.delete(small).await.unwrap();
    store.delete(small).await.unwrap();
    assert_eq!(store.read(small).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(names("", true).await, ["cluster.json", large]);
}

#[tokio::test]
async fn files_of_former_versions_and_failed_attempts_are_read_and_deleted() {
    let folder = tempfile::tempdir_in(".").unwrap();
    fs::create_dir_all(folder.path().join("org-1/flush/7")).unwrap();
    fs::write(folder.path().join("org-1/flush/7/0"), b"former").unwrap();
    fs::write(folder.path().join("org-1/flush/7/1"), b"ha").unwrap();
    let (store, packs) = store(folder.path());
    let packs = Opened(packs);
    assert_eq!(store.read("org-1/flush/7/0").await.unwrap().to_vec(), b"former");
    store.write("org-1/flush/7/1", "half no more").await.unwrap();
    assert!(packs.may_hold("org-1/flush/7/1"));
    assert_eq!(store.read("org-1/flush/7/1").await.unwrap().to_vec(), b"half no more");
    let found = store.list_with("org-1/").recursive(true).await.unwrap();
    assert_eq!(found.iter().filter(|found| found.metadata().is_file()).count(), 2, "each once");
    store.delete("org-1/flush/7/1").await.unwrap();
    assert!(!store.exists("org-1/flush/7/1").await.unwrap());
    // As a file again, over one that is packed.
    store.write("org-1/flush/7/2", "small").await.unwrap();
    store.write("org-1/flush/7/2", vec![2; 300_000]).await.unwrap();
    assert_eq!(store.stat("org-1/flush/7/2").await.unwrap().content_length(), 300_000);
}

#[test]
fn a_folder_that_others_may_use_has_no_packs() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let shared = Folder::open(folder.path(), false).unwrap();
    shared.put("org-1/flush/7/1", &[Bytes::from_static(b"x")], false).unwrap();
    drop(shared);
    assert!(!folder.path().join(PACKS).exists() && folder.path().join("org-1/flush/7/1").exists());
    let first = Folder::open(folder.path(), true).unwrap();
    assert!(Folder::open(folder.path(), true).unwrap().packs.is_none(), "another process has it");
    assert!(first.packs.is_some());
    assert!(first.put(".packs/x", &[], false).is_err());
}
