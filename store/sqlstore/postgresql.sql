CREATE TABLE IF NOT EXISTS {{table}}_records (
    key     BYTEA  PRIMARY KEY,
    owner   BYTEA  NOT NULL,
    value   BYTEA  NOT NULL,
    expiry  BIGINT NOT NULL, -- in milliseconds since 1970
    version BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS {{table}}_records_owner ON {{table}}_records (owner, key);
CREATE INDEX IF NOT EXISTS {{table}}_records_expiry ON {{table}}_records (expiry);
CREATE TABLE IF NOT EXISTS {{table}}_counters (
    key    BYTEA  PRIMARY KEY,
    total  BIGINT NOT NULL,
    expiry BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS {{table}}_counters_expiry ON {{table}}_counters (expiry);
