# hearth as a container image: docs/containers.md. Builds on any processor that it is to run on (amd64, arm64).
FROM rust:1.95-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake libasound2-dev pkg-config python3 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin hearth && cp target/release/hearth /usr/local/bin/hearth \
 && tools/third_party_licenses.py /usr/local/share/hearth/THIRD-PARTY.md

FROM debian:bookworm-slim
# The audio group has the same number on every Debian; a host may have another (docs/containers.md).
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libasound2 libstdc++6 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --groups audio --no-create-home --home-dir /var/lib/hearth --shell /usr/sbin/nologin hearth \
 && install -d -m 700 -o hearth -g hearth /var/lib/hearth
COPY --from=build /usr/local/bin/hearth /usr/bin/hearth
COPY models /usr/share/hearth/models
COPY container/hearth.toml /etc/hearth/hearth.toml
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/hearth/
COPY --from=build /usr/local/share/hearth/THIRD-PARTY.md /usr/share/doc/hearth/

ENV STATE_DIRECTORY=/var/lib/hearth
VOLUME /var/lib/hearth
EXPOSE 8787
USER 10001
# Fails when the daemon does not answer within the time.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["hearth", "status"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["hearth"]
CMD ["run"]
