//! What requests can reach, for the fuzz targets in `fuzz/`. Errors are given as the client reads them.

use crate::config::Config;
use crate::error::ApiError;
use crate::parameters::Parameters;
use crate::permits::Permits;
use crate::upload::{self, largest_body};
use actix_web::FromRequest;
use actix_web::http::header::HeaderValue;
use actix_web::test::TestRequest;
use actix_web::web::Payload;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of the largest picture.
const MAX_UPLOAD: usize = 64 * 1024;
/// Bytes of the largest body.
pub const LARGEST: usize = MAX_UPLOAD / 3 * 4 + 32 * 1024;

/// Reads a query string.
///
/// # Errors
/// As the client reads it.
pub fn query(text: &str) -> Result<(), String> {
    let parameters = Parameters::from_query(text).map_err(as_read)?;
    let _ = parameters.request(true);
    Ok(())
}

/// Reads a data URL or bare base64.
///
/// # Errors
/// As the client reads it.
pub fn data_url(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut buffer = text.to_vec();
    let bytes = crate::data_url::decode(&mut buffer, 0..text.len(), usize::MAX).map_err(as_read)?;
    Ok(buffer[bytes].to_vec())
}

/// Reads a request's body; gives the picture in it.
///
/// # Errors
/// As the client reads it.
pub fn upload(content_type: &str, query: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    static STATE: LazyLock<(Config, Permits)> = LazyLock::new(|| {
        let largest = ("MAX_UPLOAD_BYTES".to_owned(), MAX_UPLOAD.to_string());
        let config = Config::from_pairs([largest].into_iter()).expect("a number");
        (config, Permits::new(1, largest_body(MAX_UPLOAD), 16, 1 << 30, 0))
    });
    thread_local! {
        static RUNTIME: actix_web::rt::Runtime = actix_web::rt::Runtime::new().expect("a runtime");
    }
    let (config, permits) = &*STATE;
    let content_type = HeaderValue::from_str(content_type).map_err(|error| error.to_string())?;
    let request = TestRequest::post()
        .uri(&format!("/?{query}"))
        .insert_header(("content-type", content_type))
        .set_payload(body.to_vec());
    let (request, mut payload) = request.to_http_parts();
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let payload = Payload::from_request(&request, &mut payload).await.expect("a payload");
            let deadline = Instant::now() + Duration::from_secs(60);
            let client = permits.client(IpAddr::from(Ipv4Addr::LOCALHOST).into());
            let body = upload::receive(&request, payload, config, permits, client, deadline).await;
            let upload = body.and_then(upload::Body::decode).map_err(as_read)?;
            let _ = upload.parameters.request(true);
            if upload.has_several() {
                let (bytes, pictures) = upload.into_all();
                let mut read = pictures.into_iter().flatten();
                assert!(read.all(|picture| bytes[picture].len() <= MAX_UPLOAD));
                return Ok(Vec::new());
            }
            let (picture, _permit) = upload.into_only().map_err(as_read)?;
            assert!(picture.len() <= MAX_UPLOAD, "a picture of {} bytes", picture.len());
            Ok(picture)
        })
    })
}

/// Reads the body of an inference of the Open Inference Protocol, of which the first `header` bytes are
/// JSON; gives how many pictures or tensors it has.
///
/// # Errors
/// As the client reads it.
pub fn infer_request(body: &[u8], header: Option<usize>) -> Result<usize, String> {
    crate::v2::read_request(&mut body.to_vec(), header, MAX_UPLOAD).map_err(as_read)
}

fn as_read(error: ApiError) -> String {
    error.to_string()
}
