# The image holds the source as it is: Node 26 comes with `npm ci` and runs TypeScript by type stripping.
FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends tini ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 decentrastore
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY package.json tsconfig.json ./
COPY proto proto
COPY db db
COPY services services
USER decentrastore
ENV PATH=/app/node_modules/.bin:$PATH HOST=0.0.0.0 NODE_ENV=production
ENTRYPOINT ["tini", "--"]
# One image, several roles: services/auth/main.ts, services/user-quota/main.ts, services/node-registry/main.ts, db/migrate.ts
CMD ["node", "--max-semi-space-size=64", "services/auth/main.ts"]
