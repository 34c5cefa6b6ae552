# tidemark with TLS and SASL for Kafka and export of traces, as a user without rights:
#   docker build -t tidemark .
# Give settings as environment variables: TIDEMARK_KAFKA_BOOTSTRAP and so on, see config/tidemark.toml.

FROM rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS build
# perl builds OpenSSL, which the feature `tls` links in.
RUN apt-get update \
 && apt-get install -y --no-install-recommends perl make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The registry and what was built stay outside of the image, for the next build.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --features tls,otlp \
 && install -D target/release/tidemark /out/tidemark

FROM debian:12.12-slim@sha256:d5d3f9c23164ea16f31852f95bd5959aad1c5e854332fe00f7b3a20fcc9f635c
# Root certificates for DynamoDB and for Kafka over TLS; curl for the health check.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --home-dir /var/lib/tidemark --create-home tidemark
COPY --from=build /out/tidemark /usr/local/bin/tidemark
COPY --chmod=644 config/tidemark.toml /etc/tidemark/tidemark.example.toml
USER 10001:10001
WORKDIR /var/lib/tidemark
# The embedded log and store, where they are used.
VOLUME /var/lib/tidemark
ENV TIDEMARK_DATA=/var/lib/tidemark/data \
    TIDEMARK_LOGGING_FORMAT=json \
    HEALTH_PORT=8788
# A worker's port; 8787 for `up`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD curl -fsS -o /dev/null "http://127.0.0.1:${HEALTH_PORT}/healthz"
# SIGTERM drains; see drain_timeout.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tidemark"]
CMD ["worker", "--roles", "rate,post"]
