//! The objects, and S3's operations on them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, DeletedObject, ETag, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput,
    HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput,
    PutObjectOutput, StreamingBlob, Timestamp, UploadPartInput, UploadPartOutput,
};
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};

/// Keys of one listing, at most, as S3's.
const LISTED_MAX: usize = 1_000;
/// Parts of an upload but for its last, at least, as S3's.
const PART_BYTES_MIN: usize = 5 << 20;

#[derive(Clone)]
struct Stored {
    body: Bytes,
    etag: String,
    modified: SystemTime,
}

/// An upload in parts that has not ended: its key and the parts by number, each with its ETag.
struct Upload {
    key: String,
    parts: BTreeMap<i32, (String, Bytes)>,
}

/// One bucket.
pub(crate) struct Bucket {
    name: String,
    objects: Mutex<BTreeMap<String, Stored>>,
    uploads: Mutex<BTreeMap<String, Upload>>,
    writes: AtomicU64,
}

impl Bucket {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), objects: Mutex::default(), uploads: Mutex::default(), writes: AtomicU64::new(0) }
    }

    fn check(&self, bucket: &str) -> S3Result<()> {
        if bucket == self.name { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    fn find(&self, bucket: &str, key: &str) -> S3Result<Stored> {
        self.check(bucket)?;
        self.objects.lock().get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// A name that nothing had: of an upload, or as an ETag.
    fn new_name(&self) -> String {
        format!("{:016x}", self.writes.fetch_add(1, Ordering::Relaxed))
    }

    /// Puts an object where it belongs, unless it is to be the first there and is not; returns its ETag.
    fn store(&self, key: String, body: Bytes, if_absent: bool) -> S3Result<String> {
        #[expect(clippy::disallowed_methods, reason = "a server of its own: Last-Modified is its wall clock's")]
        let modified = SystemTime::now();
        let etag = self.new_name();
        let mut objects = self.objects.lock();
        if if_absent && objects.contains_key(&key) {
            return Err(s3_error!(PreconditionFailed));
        }
        objects.insert(key, Stored { body, etag: etag.clone(), modified });
        Ok(etag)
    }
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = body {
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|_| s3_error!(IncompleteBody))?);
        }
    }
    Ok(bytes.into())
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
        let body = collect(input.body).await?;
        let if_absent = input.if_none_match.is_some_and(|condition| condition.is_any());
        let etag = self.store(input.key, body, if_absent)?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(ETag::Strong(etag)), ..PutObjectOutput::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let CreateMultipartUploadInput { bucket, key, .. } = request.input;
        self.check(&bucket)?;
        let id = self.new_name();
        self.uploads.lock().insert(id.clone(), Upload { key: key.clone(), parts: BTreeMap::new() });
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        self.check(&input.bucket)?;
        let body = collect(input.body).await?;
        let etag = self.new_name();
        let mut uploads = self.uploads.lock();
        let upload = uploads.get_mut(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(input.part_number, (etag.clone(), body));
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..UploadPartOutput::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        self.check(&input.bucket)?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let upload = self.uploads.lock().remove(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let mut body = Vec::new();
        let mut parts = upload.parts.into_iter();
        for (position, part) in named.iter().enumerate() {
            let found = parts.find(|(number, _)| Some(*number) == part.part_number);
            let (_, (etag, bytes)) = found.ok_or_else(|| s3_error!(InvalidPart))?;
            if part.e_tag.as_ref().is_some_and(|named| named.value() != etag) {
                return Err(s3_error!(InvalidPart));
            }
            if bytes.len() < PART_BYTES_MIN && position + 1 < named.len() {
                return Err(s3_error!(EntityTooSmall));
            }
            body.extend_from_slice(&bytes);
        }
        let etag = self.store(upload.key, body.into(), false)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.check(&request.input.bucket)?;
        self.uploads.lock().remove(&request.input.upload_id);
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
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
