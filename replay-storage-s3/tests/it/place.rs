//! A bucket of its own for each test, on a server that is already there.

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Builder, Credentials, Region},
};
use replay_services::required_url;
use replay_storage_s3::{S3, S3Builder};
use uuid::Uuid;

/// A bucket that nobody else uses. It ends with its server.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
}

impl Place {
    /// Makes a bucket on the server whose URL is in `variable`.
    pub(crate) async fn create(variable: &str) -> Self {
        Self::create_at(&required_url(variable)).await
    }

    /// Makes a bucket on the server at `url`, as in `s3://KEY:SECRET@BUCKET?endpoint=…`.
    pub(crate) async fn create_at(url: &str) -> Self {
        let part = |after: &str, before: &str| {
            let rest = url.split_once(after).map_or_else(|| panic!("{url} has no {after}"), |(_, rest)| rest);
            rest.split_once(before).map_or(rest, |(part, _)| part).to_owned()
        };
        let place = Self {
            key: part("s3://", ":"),
            secret: part("s3://", "@").split_once(':').map(|(_, secret)| secret.to_owned()).unwrap_or_default(),
            endpoint: part("endpoint=", "&"),
            bucket: format!("t-{}", Uuid::now_v7().simple()),
        };
        place.sdk().create_bucket().bucket(&place.bucket).send().await.expect("the server makes a bucket");
        place
    }

    /// The driver itself, to look at what is stored and to spoil it.
    pub(crate) fn sdk(&self) -> Client {
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .credentials_provider(Credentials::new(&self.key, &self.secret, None, None, "tests"));
        Client::from_conf(config.build())
    }

    pub(crate) fn builder(&self) -> S3Builder {
        S3::builder(&self.bucket).endpoint(&self.endpoint).region("us-east-1").path_style(true).credentials(&self.key, &self.secret)
    }
}
