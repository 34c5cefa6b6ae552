//! The address of the service as browsers know it.

/// Scheme, host and port under which browsers know the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicOrigin {
    /// Whether it is `https`.
    pub is_https: bool,
    /// As in the `Host` header: with the port, unless it is the scheme's own.
    pub host: String,
}

impl std::fmt::Display for PublicOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)
    }
}

impl PublicOrigin {
    pub(super) fn parse(text: &str) -> Option<PublicOrigin> {
        let (scheme, host) = text.split_once("://")?;
        let is_https = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let uri: axum::http::Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        // Neither a path, nor a user, nor white space: what is left is what a browser sends as
        // Host.
        if authority.as_str() != host || host.contains('@') {
            return None;
        }
        let own_port = if is_https { ":443" } else { ":80" };
        let host = host.strip_suffix(own_port).unwrap_or(host);
        Some(PublicOrigin {
            is_https,
            host: host.to_ascii_lowercase(),
        })
    }
}
