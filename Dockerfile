# A static program on an empty image.
#
#   docker build -t fanfare .
#   docker run -p 6001:6001 -p 9601:9601 \
#     -e PUSHER_APP_ID=1 -e PUSHER_APP_KEY=my-key -e PUSHER_APP_SECRET=my-secret fanfare

FROM node:20-bookworm-slim AS console
WORKDIR /build/src/console
COPY src/console .
RUN ./build

FROM rust:1.95-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
COPY . .
COPY --from=console /build/src/console/assets src/console/assets
# Names of functions stay for backtraces, lines go: a third of the size.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
# Naming the target keeps the flag away from build scripts and procedural macros.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --release --locked --bin fanfare --target "$target" \
    && cp "target/$target/release/fanfare" /fanfare

FROM scratch
LABEL org.opencontainers.image.title="fanfare" \
      org.opencontainers.image.description="A self-hosted realtime server that speaks the Pusher Channels protocol" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /fanfare /fanfare
# On all addresses of the container; refused without credentials of one's own.
ENV FANFARE_SERVER_HOST=0.0.0.0 \
    FANFARE_SERVER_METRICS_HOST=0.0.0.0
USER 65534:65534
EXPOSE 6001 9601
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/fanfare", "healthcheck"]
ENTRYPOINT ["/fanfare"]
CMD ["serve"]
