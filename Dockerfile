# Both programs, one target each:
#   docker build --target persistence-service -t roomkeeper/persistence-service .
#   docker build --target edge-gateway -t roomkeeper/edge-gateway .

FROM node:22-bookworm-slim AS web
WORKDIR /src/edge-gateway/web
COPY edge-gateway/web/package.json edge-gateway/web/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
COPY edge-gateway/web ./
RUN npm run build

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# What the gateway serves to browsers is part of its binary.
COPY --from=web /src/edge-gateway/web/dist edge-gateway/web/dist
# The caches outlive the layer, so a change of ours does not build the
# dependencies again; what they hold must be copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --workspace \
    && install -D --target-directory=/out \
        target/release/persistence-service target/release/edge-gateway \
    && mkdir /out/data

FROM debian:bookworm-slim AS runtime
RUN groupadd --system --gid 10001 roomkeeper \
    && useradd --system --uid 10001 --gid roomkeeper --no-create-home \
        --home-dir /nonexistent --shell /usr/sbin/nologin roomkeeper
USER 10001:10001
STOPSIGNAL SIGTERM

FROM runtime AS persistence-service
COPY --from=build /out/persistence-service /usr/local/bin/
# Where rooms are kept unless REDIS_URL is set.
COPY --from=build --chown=10001:10001 /out/data /data
VOLUME /data
ENV PERSISTENCE_DATA_DIR=/data
ENV PERSISTENCE_LISTEN=0.0.0.0:50051
EXPOSE 50051
# Whether it listens. Whether it can serve is for gRPC health to say, and through
# it for the gateway's /readyz: the image holds no gRPC client.
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/50051"]
ENTRYPOINT ["/usr/local/bin/persistence-service"]

FROM runtime AS edge-gateway
COPY --from=build /out/edge-gateway /usr/local/bin/
ENV GATEWAY_LISTEN=0.0.0.0:4000
EXPOSE 4000
# Whether it can serve: its service is up and reaches the store.
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/4000 && printf 'GET /readyz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["/usr/local/bin/edge-gateway"]
