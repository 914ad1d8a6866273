/// `GET /health`: `ok`, as long as requests are answered at all; the model is not touched.
pub(crate) async fn health() -> &'static str {
    "ok"
}
