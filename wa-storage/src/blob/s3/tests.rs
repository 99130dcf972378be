//! What is told of a bucket, and what its addresses look like; what an S3 server makes of them is tried with a real one.

use wa_core::id::MediaId;
use wa_core::media::Format;

use super::*;

const URL: &str = "s3://AKIAKEY:se%2Fcret@whatsapp-media?endpoint=http://10.0.0.7:9000&region=eu-central-1";

fn store(url: &str) -> S3BlobStore {
    S3BlobStore::new(S3Config::parse(url).expect("a bucket"), None).expect("a client")
}

fn refusal(url: &str) -> String {
    S3Config::parse(url).err().unwrap_or_else(|| panic!("{url} is refused")).to_string()
}

fn key() -> ObjectKey {
    ObjectKey::Original(MediaId::from_uuid(uuid::Uuid::nil()), Format::Pdf)
}

async fn presigned(store: &S3BlobStore, disposition: Disposition) -> Url {
    let how = Presign { ttl: Duration::from_secs(3600), disposition };
    store.presign(&key(), &how).await.expect("an address").parse().expect("a URL")
}

#[tokio::test]
async fn an_address_names_the_object_and_how_it_is_to_be_handed_out() {
    let url = presigned(&store(URL), Disposition::Attachment("año \"1\".pdf".to_owned())).await;
    assert_eq!((url.host_str(), url.port()), (Some("10.0.0.7"), Some(9000)));
    assert_eq!(url.path(), format!("/whatsapp-media/{}", key()));
    let parameters: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(parameters["response-content-type"], "application/pdf");
    assert_eq!(parameters["response-content-disposition"], "attachment; filename*=UTF-8''a%C3%B1o%20%221%22.pdf");
    assert_eq!(parameters["X-Amz-Expires"], "3600");
    assert!(parameters["X-Amz-Credential"].starts_with("AKIAKEY/") && parameters["X-Amz-Credential"].contains("/eu-central-1/s3/"));
}

#[tokio::test]
async fn addresses_are_those_of_the_public_endpoint() {
    let store = store(&format!("{URL}&public_endpoint=https://files.example.org"));
    let url = presigned(&store, Disposition::Inline).await;
    assert_eq!((url.scheme(), url.host_str(), url.port()), ("https", Some("files.example.org"), None));
    assert!(url.query().is_some_and(|query| query.contains("response-content-disposition=inline")));
}

#[test]
fn without_an_endpoint_it_is_that_of_the_region() {
    let config = S3Config::parse("s3://key:secret@bucket?region=eu-central-1").expect("a bucket");
    assert_eq!(config.endpoint, "https://s3.eu-central-1.amazonaws.com");
    assert_eq!(config.public_endpoint, config.endpoint);
}

#[test]
fn a_url_that_says_something_else_is_refused_without_being_repeated() {
    for url in [
        "s3://",
        "s3:bucket",
        "s3://key:hunter2@bucket/folder",
        "s3://key:hunter2@bucket:9000",
        "s3://key@bucket",
        "s3://key:hunter2@bucket?endpoint=ftp://a",
        "s3://key:hunter2@bucket?endpoint=http://a/path",
        "s3://key:hunter2@bucket?endpoint=http://u:p@a",
        "s3://key:hunter2@bucket?public_endpoint=a",
        "s3://key:hunter2@bucket?acl=public-read",
        "s3://key:hunter2@bucket#fragment",
    ] {
        let said = refusal(url);
        assert!(!said.contains("hunter2") && said.starts_with("storage.media: "), "{url}: {said}");
    }
}

#[tokio::test]
async fn what_fails_tells_no_secrets() {
    // Nobody listens there.
    let store = store("s3://AKIAKEY:hunter2@whatsapp-media?endpoint=http://127.0.0.1:9");
    let error = store.check().await.expect_err("nobody answers");
    assert_eq!(error.kind, wa_core::error::StoreErrorKind::Unavailable);
    let said = format!("{store:?} {error} {error:?} {}", error.source);
    assert!(!said.contains("hunter2") && !said.contains("AKIAKEY"), "{said}");
    assert!(store.read(&key(), None).await.is_err() && store.put(&key(), b"x".to_vec()).await.is_err() && store.delete(&key()).await.is_err());
}
