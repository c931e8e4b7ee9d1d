# Two images from one build:
#
#   coordinator  (the default) the static binary, CA certificates and nothing else: no shell, no libc.
#                For coordinators, and for nodes whose servers are all reached by URL.
#   node         the same binary on a runtime for stdio servers, by default Node.js with npx:
#                docker build --target node --build-arg NODE_IMAGE=… .
#
# Both run as user 65532, write to /home/mcphub alone (and a child of a node to /tmp), and read
# mcp_settings.json in /etc/mcphub unless MCPHUB_SETTINGS names another file.
#
# No "# syntax" line and no RUN --mount: it builds with the classic builder and offline, given
# images of these names and, in the folder, vendor/ (go mod vendor).

ARG GO_IMAGE=golang:1.26-alpine
ARG BASE_IMAGE=scratch
ARG NODE_IMAGE=node:22-bookworm-slim

FROM ${GO_IMAGE} AS build
WORKDIR /src
# The modules, in a layer that survives changes of the code; not asked for where they are vendored.
# The pattern makes the copy optional; it is in the folder, since BuildKit looks for a plain one.
COPY go.mod go.sum vendo[r]/modules.txt ./
RUN [ -f modules.txt ] || go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/usr/local/bin/mcphub ./cmd/mcphub
# What the images hold beside the binary. The certificates stand where Go looks for them first.
RUN mkdir -p /out/etc/mcphub /out/etc/ssl/certs /out/home/mcphub && \
    cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ && \
    cp LICENSE /out/etc/mcphub/LICENSE

FROM ${NODE_IMAGE} AS node
COPY --from=build /out/usr /usr
COPY --from=build /out/etc /etc
COPY --from=build --chown=65532:65532 /out/home /home
ARG VERSION=dev
LABEL org.opencontainers.image.title="MCPHub node" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV HOST=0.0.0.0 PORT=3000 HOME=/home/mcphub
WORKDIR /etc/mcphub
USER 65532:65532
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["/usr/local/bin/mcphub", "health"]
ENTRYPOINT ["/usr/local/bin/mcphub"]

FROM ${BASE_IMAGE} AS coordinator
COPY --from=build /out/usr /usr
COPY --from=build /out/etc /etc
COPY --from=build --chown=65532:65532 /out/home /home
ARG VERSION=dev
LABEL org.opencontainers.image.title="MCPHub" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV HOST=0.0.0.0 PORT=3000 HOME=/home/mcphub
WORKDIR /etc/mcphub
USER 65532:65532
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["/usr/local/bin/mcphub", "health"]
ENTRYPOINT ["/usr/local/bin/mcphub"]
