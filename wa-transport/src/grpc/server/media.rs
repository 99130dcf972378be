//! MediaService: what is known of uploaded files.

use std::sync::Arc;

use tonic::{Request, async_trait};
use wa_core::error::{Error, Missing};
use wa_core::id::MediaId;
use wa_core::service::LookupService;

use super::{Answer, answer};
use crate::grpc::convert::{id, ids};
use crate::grpc::proto::media::media_service_server::MediaService;
use crate::grpc::proto::media::{GetMediaMetadataBatchRequest, GetMediaMetadataBatchResponse, GetMediaMetadataRequest, GetMediaMetadataResponse};

pub(super) struct Media {
    pub(super) lookup: Arc<LookupService>,
}

#[async_trait]
impl MediaService for Media {
    async fn get_media_metadata(&self, request: Request<GetMediaMetadataRequest>) -> Answer<GetMediaMetadataResponse> {
        let found = async {
            let files = self.lookup.files(&[id("media_id", &request.into_inner().media_id)?]).await?;
            files.into_iter().next().ok_or(Error::not_found(Missing::Resource))
        };
        answer(found.await.map(Into::into))
    }

    async fn get_media_metadata_batch(&self, request: Request<GetMediaMetadataBatchRequest>) -> Answer<GetMediaMetadataBatchResponse> {
        let found = async {
            let asked: Vec<MediaId> = ids("media_ids", &request.into_inner().media_ids)?;
            self.lookup.files(&asked).await
        };
        answer(found.await.map(|files| GetMediaMetadataBatchResponse { media: files.into_iter().map(Into::into).collect() }))
    }
}
