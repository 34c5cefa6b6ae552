//! Style sheet, scripts and icon: within the binary, each under a path that names its content, so
//! that browsers keep them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};

/// Bytes of the hash in a path: a stale asset is told from a fresh one, no more is asked of it.
const HASH_BYTES: usize = 8;
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// A file that pages need.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 6] = [
    Asset {
        name: "app.css",
        media_type: "text/css; charset=utf-8",
        content: include_str!("assets/app.css"),
    },
    Asset {
        name: "app.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("assets/app.js"),
    },
    Asset {
        name: "htmx.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("assets/htmx.min.js"),
    },
    Asset {
        name: "htmx.LICENSE.txt",
        media_type: "text/plain; charset=utf-8",
        content: include_str!("assets/htmx.LICENSE"),
    },
    Asset {
        name: "wallet.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("assets/wallet.js"),
    },
    Asset {
        name: "icon.svg",
        media_type: "image/svg+xml",
        content: include_str!("assets/icon.svg"),
    },
];

/// The route of them all.
pub(super) const ROUTE: &str = "/assets/{hash}/{name}";

static PATHS: LazyLock<[String; ASSETS.len()]> = LazyLock::new(|| {
    ASSETS.each_ref().map(|asset| {
        let hash = digest(&SHA256, asset.content.as_bytes());
        let hex = base16ct::lower::encode_string(&hash.as_ref()[..HASH_BYTES]);
        format!("/assets/{hex}/{}", asset.name)
    })
});

/// The path of an asset.
pub(super) fn path(name: &str) -> &'static str {
    let known = ASSETS.iter().position(|asset| asset.name == name);
    known.map_or("", |at| &PATHS[at])
}

/// `GET /assets/{hash}/{name}`.
pub(super) async fn show(Path((hash, name)): Path<(String, String)>) -> Response {
    let path = format!("/assets/{hash}/{name}");
    let Some(at) = PATHS.iter().position(|known| *known == path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let asset = &ASSETS[at];
    let headers = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, FOR_EVER),
    ];
    (headers, asset.content).into_response()
}
