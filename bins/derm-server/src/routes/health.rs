/// Says `ok` as long as requests are answered at all; the model is not touched.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/health/",
    tag = "operations",
    responses((status = 200, description = "Requests are answered", body = String)),
))]
pub(crate) async fn health() -> &'static str {
    "ok"
}
