//! Names that recordings of logs use, so that others find them.

/// Counter of requests; attributes `http.request.method`, `http.route`, `http.response.status_code`.
pub const REQUESTS: &str = "http.server.requests";
/// Quantiles of body sizes in bytes; attributes `http.request.method`, `http.route`, `quantile`.
pub const SIZES: &str = "http.server.response.body.size";
/// The endpoint that stands for all paths that do not exist.
pub const NOT_FOUND: &str = "(not found)";
/// The endpoint that stands for those beyond the bound.
pub const OTHERS: &str = "(others)";
