# The service alone: Redis and Postgres run elsewhere.

FROM node:22-slim AS web
WORKDIR /build
COPY clients/react clients/react
COPY web web
RUN npm ci --prefix web --no-audit --no-fund && npm run --prefix web build

FROM rust:1-slim-bookworm AS build
WORKDIR /build
COPY . .
COPY --from=web /build/web/dist web/dist
# The tests' targets are named in Cargo.toml and are no part of the image.
RUN mkdir -p tests/it && touch tests/it/main.rs tests/tidy.rs \
    && cargo build --release --locked --bin headroom

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --shell /usr/sbin/nologin --uid 10001 headroom
COPY --from=build /build/target/release/headroom /usr/local/bin/headroom
USER headroom
ENV HEADROOM_SERVER_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["headroom"]
CMD ["serve"]
