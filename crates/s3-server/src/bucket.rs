//! The objects, and S3's operations on them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag,
    GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput,
    ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
};
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};

/// Keys of one listing, at most, as S3's.
const LISTED_MAX: usize = 1_000;

#[derive(Clone)]
struct Stored {
    body: Bytes,
    etag: String,
    modified: SystemTime,
}

/// One bucket.
pub(crate) struct Bucket {
    name: String,
    objects: Mutex<BTreeMap<String, Stored>>,
    writes: AtomicU64,
}

impl Bucket {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), objects: Mutex::default(), writes: AtomicU64::new(0) }
    }

    fn check(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.name { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    fn find(&self, bucket: &str, key: &str) -> S3Result<Stored> {
        self.check(bucket)?;
        self.objects.lock().get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }
}

fn length(body: &Bytes) -> Option<i64> {
    i64::try_from(body.len()).ok()
}

#[async_trait]
impl S3 for Bucket {
    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.check(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        self.check(&input.bucket)?;
        let mut body = Vec::new();
        if let Some(mut stream) = input.body {
            while let Some(chunk) = stream.next().await {
                body.extend_from_slice(&chunk.map_err(|_| s3_error!(IncompleteBody))?);
            }
        }
        #[expect(clippy::disallowed_methods, reason = "a server of its own: Last-Modified is its wall clock's")]
        let modified = SystemTime::now();
        let etag = format!("{:016x}", self.writes.fetch_add(1, Ordering::Relaxed));
        let stored = Stored { body: body.into(), etag: etag.clone(), modified };
        let mut objects = self.objects.lock();
        if input.if_none_match.is_some_and(|condition| condition.is_any()) && objects.contains_key(&input.key) {
            return Err(s3_error!(PreconditionFailed));
        }
        objects.insert(input.key, stored);
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(ETag::Strong(etag)), ..PutObjectOutput::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let Stored { body, etag, modified } = self.find(&input.bucket, &input.key)?;
        let whole = body.len();
        let mut content_range = None;
        let body = match input.range {
            None => body,
            Some(range) => {
                let range = range.check(whole as u64).map_err(|_| s3_error!(InvalidRange))?;
                content_range = Some(format!("bytes {}-{}/{whole}", range.start, range.end - 1));
                let bounds = |at: u64| usize::try_from(at).unwrap_or(whole);
                body.slice(bounds(range.start)..bounds(range.end))
            }
        };
        Ok(S3Response::new(GetObjectOutput {
            content_length: length(&body),
            content_range,
            body: Some(StreamingBlob::from(Body::from(body))),
            e_tag: Some(ETag::Strong(etag)),
            last_modified: Some(Timestamp::from(modified)),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let stored = self.find(&request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: length(&stored.body),
            e_tag: Some(ETag::Strong(stored.etag)),
            last_modified: Some(Timestamp::from(stored.modified)),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.check(&request.input.bucket)?;
        self.objects.lock().remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.check(&request.input.bucket)?;
        let mut objects = self.objects.lock();
        let deleted = request.input.delete.objects.into_iter().map(|object| {
            objects.remove(&object.key);
            DeletedObject { key: Some(object.key), ..DeletedObject::default() }
        });
        let deleted = Some(deleted.collect());
        Ok(S3Response::new(DeleteObjectsOutput { deleted, ..DeleteObjectsOutput::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.check(&input.bucket)?;
        let wanted = input.max_keys.and_then(|max| usize::try_from(max).ok()).unwrap_or(LISTED_MAX).min(LISTED_MAX);
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
        let page = self.page(&prefix, &after, input.delimiter.as_deref(), wanted);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            max_keys: i32::try_from(wanted).ok(),
            key_count: i32::try_from(page.objects.len() + page.prefixes.len()).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            contents: Some(page.objects),
            common_prefixes: Some(
                page.prefixes.into_iter().map(|prefix| s3s::dto::CommonPrefix { prefix: Some(prefix) }).collect(),
            ),
            delimiter: input.delimiter,
            ..ListObjectsV2Output::default()
        }))
    }
}

/// One page of a listing; the next begins after `next`.
#[derive(Default)]
struct Page {
    objects: Vec<Object>,
    prefixes: Vec<String>,
    next: Option<String>,
}

impl Bucket {
    fn page(&self, prefix: &str, after: &str, delimiter: Option<&str>, wanted: usize) -> Page {
        let objects = self.objects.lock();
        let mut page = Page::default();
        let mut last = String::new();
        for (key, stored) in objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix)) {
            let folder = delimiter.and_then(|delimiter| {
                let at = key[prefix.len()..].find(delimiter)?;
                Some(key[..prefix.len() + at + delimiter.len()].to_owned())
            });
            let entry = folder.as_ref().unwrap_or(key);
            if entry.as_str() <= after || page.prefixes.last() == Some(entry) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() >= wanted {
                page.next = Some(last);
                break;
            }
            last.clone_from(entry);
            match folder {
                Some(folder) => page.prefixes.push(folder),
                None => page.objects.push(Object {
                    key: Some(key.clone()),
                    size: length(&stored.body),
                    e_tag: Some(ETag::Strong(stored.etag.clone())),
                    last_modified: Some(Timestamp::from(stored.modified)),
                    ..Object::default()
                }),
            }
        }
        page
    }
}
