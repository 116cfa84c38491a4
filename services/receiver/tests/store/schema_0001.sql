-- The schema as the migration 0001_initial of version 0.1.0 makes it. Never edited.
CREATE TABLE "tortoise_migrations" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "app" VARCHAR(255) NOT NULL,
    "name" VARCHAR(255) NOT NULL,
    "applied_at" TIMESTAMP NOT NULL,
    CONSTRAINT "uid_tortoise_mi_app_3803a5" UNIQUE ("app", "name")
);
CREATE TABLE "run" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "organization" VARCHAR(255) NOT NULL,
    "repository" VARCHAR(255) NOT NULL,
    "workflow" VARCHAR(255) NOT NULL,
    "job" VARCHAR(255) NOT NULL,
    "push_id" VARCHAR(36) NOT NULL,
    "run_id" VARCHAR(255) NOT NULL,
    "state" SMALLINT NOT NULL,
    "revision" BIGINT NOT NULL,
    "digest" BLOB NOT NULL,
    "received_at_ms" BIGINT NOT NULL,
    "updated_at_ms" BIGINT NOT NULL,
    "silent_after_ms" BIGINT,
    "started_at_ms" BIGINT NOT NULL,
    "duration_seconds" REAL NOT NULL,
    "cpu_peak_percent" REAL,
    "cpu_p95_percent" REAL,
    "mem_peak_bytes" BIGINT,
    "mem_p95_bytes" BIGINT,
    "payload_size_bytes" INT NOT NULL,
    "payload" BLOB NOT NULL,
    CONSTRAINT "uid_run_push_id_a52290" UNIQUE ("push_id", "organization", "repository", "workflow", "job")
);
CREATE INDEX "run_scope" ON "run" ("organization", "repository", "workflow", "job", "id");
CREATE TABLE "run_container" (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    "name" VARCHAR(1024) NOT NULL,
    "cpu_seconds" REAL,
    "cpu_peak_cores" REAL,
    "cpu_p95_cores" REAL,
    "memory_peak_bytes" BIGINT,
    "memory_p95_bytes" BIGINT,
    "run_id" BIGINT NOT NULL REFERENCES "run" ("id") ON DELETE CASCADE
);
CREATE INDEX "run_container_run" ON "run_container" ("run_id");
INSERT INTO tortoise_migrations (app, name, applied_at) VALUES ('runs', '0001_initial', '2026-02-06 14:30:00+00:00');
