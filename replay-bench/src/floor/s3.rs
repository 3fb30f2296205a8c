//! The floor of the S3 store: requests with as many bytes through the same driver, one after the other, to the same server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation},
    primitives::ByteStream,
};
use bytes::Bytes;
use replay_services::s3::{ACCESS_KEY, BUCKET, SECRET_KEY};

use crate::{
    Outcome, harness,
    job::{Bits, STEPS},
};

/// So much the store keeps in a saga's one object before it moves the records to another.
const HEAD_BYTES: usize = 64 << 10;

/// What the store compresses such a bundle with.
const LEVEL: i32 = 3;

/// An object that an append writes.
#[derive(Debug, Clone)]
pub(crate) enum Object {
    /// A saga's newest records, in place of what is there.
    Head(Bytes),
    /// Older ones, for good.
    Bundle(Bytes),
}

/// The objects that the store documents for appends of these records, one by one.
pub(crate) fn objects(records: &[Bits]) -> Outcome<Arc<[Object]>> {
    let (mut objects, mut head) = (Vec::new(), Vec::new());
    for record in records {
        let new = [&record.header[..], &record.context[..]].concat();
        if head.len() + new.len() > HEAD_BYTES {
            objects.push(Object::Bundle(zstd::bulk::compress(&head, LEVEL)?.into()));
            head.clear();
        }
        head.extend(new);
        objects.push(Object::Head(head.clone().into()));
    }
    Ok(objects.into())
}

/// A driver of its own, and the number of the next object.
#[derive(Debug, Clone)]
pub(crate) struct Bare {
    client: Client,
    objects: Arc<AtomicU64>,
}

impl Bare {
    pub(crate) fn connect(port: u16) -> Self {
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(format!("http://127.0.0.1:{port}"))
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "bench"));
        Self { client: Client::from_conf(config.build()), objects: Arc::default() }
    }

    fn next_key(&self) -> String {
        format!("bare/{}", self.objects.fetch_add(1, Ordering::Relaxed))
    }

    /// Microseconds per step of so many sagas, a PUT for each object; those of a head on the condition that nobody else was first.
    pub(crate) async fn alone(&self, objects: &Arc<[Object]>, sagas: usize) -> Outcome<f64> {
        let (bare, objects) = (self.clone(), objects.clone());
        let start = Instant::now();
        tokio::spawn(async move {
            for _ in 0..sagas {
                let (head, mut tag) = (bare.next_key(), None);
                for object in objects.iter() {
                    match object {
                        Object::Head(bytes) => tag = bare.replace(&head, bytes, tag).await?,
                        Object::Bundle(bytes) => bare.put(&bare.next_key(), bytes).await?,
                    }
                }
            }
            Outcome::Ok(())
        })
        .await??;
        Ok(harness::micros_each(start.elapsed(), sagas * STEPS))
    }

    async fn replace(&self, key: &str, bytes: &Bytes, tag: Option<String>) -> Outcome<Option<String>> {
        let put = self.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(bytes.clone()));
        let put = if tag.is_none() { put.if_none_match("*") } else { put.set_if_match(tag) };
        Ok(put.send().await?.e_tag)
    }

    async fn put(&self, key: &str, bytes: &Bytes) -> Outcome {
        self.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(bytes.clone())).send().await?;
        Ok(())
    }

    /// The keys of a saga's head and bundles under `prefix`, the head first.
    pub(crate) async fn keys(&self, prefix: &str) -> Outcome<Vec<String>> {
        let list = self.client.list_objects_v2().bucket(BUCKET).prefix(prefix).send().await?;
        let keys = list.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
        let (heads, rest): (Vec<_>, Vec<_>) = keys.partition(|key| key.contains("/s/"));
        let bundles = rest.into_iter().filter(|key| key.contains("/b/"));
        Ok(heads.into_iter().chain(bundles).collect())
    }

    /// Reads these objects, one after the other.
    pub(crate) async fn read(&self, keys: &[String]) -> Outcome {
        for key in keys {
            let object = self.client.get_object().bucket(BUCKET).key(key).send().await?;
            object.body.collect().await?;
        }
        Ok(())
    }
}
