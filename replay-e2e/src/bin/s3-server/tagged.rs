//! s3s-fs with the tags of objects in its listings, which it leaves out and every real server gives.

use std::collections::HashMap;
use std::sync::Mutex;

use s3s::{
    S3, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
        CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteBucketInput,
        DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, ETag, GetObjectInput,
        GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
        ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput, UploadPartInput, UploadPartOutput,
    },
};
use s3s_fs::FileSystem;

/// Remembers the tag of each object that is written; one from before a restart is looked up.
pub(crate) struct Tagged {
    files: FileSystem,
    tags: Mutex<HashMap<(String, String), ETag>>,
}

impl Tagged {
    pub(crate) fn new(files: FileSystem) -> Self {
        Self { files, tags: Mutex::default() }
    }

    fn keep(&self, place: (String, String), tag: Option<&ETag>) {
        // The map is whole at every moment, also after a panic elsewhere.
        let mut tags = self.tags.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match tag {
            Some(tag) => tags.insert(place, tag.clone()),
            None => tags.remove(&place),
        };
    }

    fn kept(&self, place: &(String, String)) -> Option<ETag> {
        self.tags.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(place).cloned()
    }
}

/// Most calls are answered by s3s-fs.
macro_rules! answer {
    (with_files: { $($name:ident: $input:ident => $output:ident,)* } here: { $($own:item)* }) => {
        #[async_trait::async_trait]
        impl S3 for Tagged {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.files.$name(request).await
            })*
            $($own)*
        }
    };
}

answer! {
    with_files: {
        abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput,
        create_bucket: CreateBucketInput => CreateBucketOutput,
        create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput,
        delete_bucket: DeleteBucketInput => DeleteBucketOutput,
        delete_object: DeleteObjectInput => DeleteObjectOutput,
        delete_objects: DeleteObjectsInput => DeleteObjectsOutput,
        get_object: GetObjectInput => GetObjectOutput,
        head_bucket: HeadBucketInput => HeadBucketOutput,
        head_object: HeadObjectInput => HeadObjectOutput,
        list_buckets: ListBucketsInput => ListBucketsOutput,
        upload_part: UploadPartInput => UploadPartOutput,
    }
    here: {
        async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
            let place = (request.input.bucket.clone(), request.input.key.clone());
            let answer = self.files.put_object(request).await?;
            self.keep(place, answer.output.e_tag.as_ref());
            Ok(answer)
        }

        async fn complete_multipart_upload(
            &self,
            request: S3Request<CompleteMultipartUploadInput>,
        ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
            let place = (request.input.bucket.clone(), request.input.key.clone());
            self.keep(place, None);
            self.files.complete_multipart_upload(request).await
        }

        async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
            let head = S3Request {
                input: HeadObjectInput::default(),
                method: request.method.clone(),
                uri: request.uri.clone(),
                headers: request.headers.clone(),
                extensions: request.extensions.clone(),
                credentials: request.credentials.clone(),
                region: request.region.clone(),
                service: request.service.clone(),
                trailing_headers: None,
            };
            let bucket = request.input.bucket.clone();
            let mut answer = self.files.list_objects_v2(request).await?;
            for object in answer.output.contents.iter_mut().flatten() {
                let place = (bucket.clone(), object.key.clone().unwrap_or_default());
                object.e_tag = self.kept(&place);
                if object.e_tag.is_none() {
                    let mut head = head.clone();
                    (head.input.bucket, head.input.key) = place.clone();
                    object.e_tag = self.files.head_object(head).await?.output.e_tag;
                    self.keep(place, object.e_tag.as_ref());
                }
            }
            Ok(answer)
        }
    }
}
